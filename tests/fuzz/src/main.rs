//! libFuzzer over one of the readers of what others wrote: the one that MYSNAP_FUZZ_TARGET names.
//! With MYSNAP_FUZZ_SEEDS it writes that reader's seeds there instead; with no target it lists all.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mysnap::fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("MYSNAP_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(i32::from(!name.is_empty()));
    };
    if let Some(directory) = std::env::var_os("MYSNAP_FUZZ_SEEDS") {
        for (number, seed) in target.seeds.iter().enumerate() {
            std::fs::write(std::path::Path::new(&directory).join(number.to_string()), seed).expect("a seed is written");
        }
        std::process::exit(0);
    }
    *target
});

fuzz_target!(init: { LazyLock::force(&TARGET); }, |data: &[u8]| (TARGET.read)(data));
