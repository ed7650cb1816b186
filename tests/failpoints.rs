//! The places where a test makes a step go wrong are in no build but the tests' own.

#[test]
#[cfg(not(feature = "failpoints"))]
fn a_normal_build_has_no_failpoints() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_mysnap")).unwrap();
    let name = [b"MYSNAP".as_slice(), b"FAILPOINT"].join(&b'_');
    assert!(!program.windows(name.len()).any(|window| window == name));
}
