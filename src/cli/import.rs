//! `isinit import`: an inittab as a table, on standard output; where it means something else, on standard error.

use std::io::Write;
use std::path::Path;

use super::verbs::Import;
use super::{Problem, Status, show};
use crate::isinittab;

/// Writes the whole table, or nothing.
pub fn import(what: &Import) -> Result<(), Problem> {
    let origin = what.from.as_deref().map(|name| {
        let words = format!("--from {name}: there is no such init; write sysvinit or busybox");
        isinittab::Origin::from_name(name).ok_or_else(|| Problem::new(Status::Usage, words))
    });
    let origin = origin.transpose()?;
    if !isinittab::is_group_name(what.group.as_bytes()) {
        let words = format!("--group {}: no group can have this name", what.group);
        return Err(Problem::new(Status::Usage, words));
    }
    let imported = isinittab::import_file(origin, what.group.as_bytes(), Path::new(&what.file));
    let imported = imported.map_err(|report| Problem::new(Status::Table, report.to_string()))?;
    show::say(&imported.differences.to_string());
    let mut out = std::io::stdout().lock();
    out.write_all(&imported.text).and_then(|()| out.flush()).map_err(|error| {
        Problem::new(
            Status::Failed,
            format!("cannot write the table: {error}; what is there is not all of it"),
        )
    })
}
