//! The readers of this part, for [`crate::fuzz`].

use super::plan::names_database;
use super::rewrite::{Move, asked_for, has_directory};

/// A statement out of a dump: where it goes it makes what it made, without what binds others.
pub(crate) fn statement(text: &str) {
    for (to, renamed) in [("shop", false), ("shop2", false), ("shop", true)] {
        let moved = Move { from: "shop", staging: "mysnap_restoring_x", to, name: "or`ders", renamed };
        let Some(made) = moved.of(text) else { continue };
        assert!(made.statement.contains("`mysnap_restoring_x`.`or``ders`"), "it goes elsewhere: {}", made.statement);
        assert!(made.foreign_keys.iter().all(|key| !key.contains('\n')), "{:?}", made.foreign_keys);
    }
    asked_for(text);
    has_directory(text);
    names_database(text, "shop");
}
