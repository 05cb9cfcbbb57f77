//! A file or a folder, out of an instance or into it, through its own `tar`: one thing that a person does, and one entry
//! of the audit log, whatever it takes. Nothing of it is kept on the way.

use super::program::Reads;
use super::reach::{Reached, not_there};
use super::{Deployer, Error, Program};
use crate::model::Placement;
use crate::model::wire::{CopyBegin, CopyWay, parted};
use crate::store::records::By;

/// A path has at most so many bytes.
const LONGEST: usize = 1 << 10;

impl Deployer {
    /// Begins a copy; says too whether the path is a folder that is there already. A path that does not begin with `/` is
    /// relative to where the app's own program starts. The audit log hears of the path and the direction.
    pub async fn copy(&self, by: &By, app: &Placement, what: &CopyBegin) -> Result<(Program, bool), Error> {
        let path = what.path.as_str();
        if path.is_empty() || path.len() > LONGEST || path.chars().any(char::is_control) {
            return Err(Error::Invalid("the path is empty, longer than 1 KiB, or not plain text".to_owned()));
        }
        let at = self.instance(app, &what.which).await?;
        let told = match what.way {
            CopyWay::Out => format!("{path} out of {at}"),
            CopyWay::In => format!("a copy to {path} in {at}"),
        };
        let nameless = || Error::Invalid(format!("{path} has no name of its own"));
        let parts = parted(path);
        if what.way == CopyWay::Out && parts.is_none() {
            return Err(nameless());
        }
        self.runner.tell(by, (app, &at.uid), "cp", told).await?;
        tracing::info!(login = by.login, %app, instance = %at, way = ?what.way, "cp");
        let is_folder = self.holds(app, &at, "test -d \"$1\"", path).await?;
        let words = match what.way {
            CopyWay::Out => {
                let (folder, name) = parts.ok_or_else(nameless)?;
                // Where there is no shell nothing is known of it, and tar says what it has to say.
                if !is_folder && self.holds(app, &at, "! test -e \"$1\" && ! test -L \"$1\"", path).await? {
                    return Err(Error::Absent {
                        why: format!("no such file: {path} in {at}"),
                        hint:
                            "a path that does not begin with / is relative to where the app's program starts"
                                .to_owned(),
                    });
                }
                ["tar", "-C", folder, "-cf", "-", "--", name].map(str::to_owned).to_vec()
            }
            CopyWay::In => {
                // Into it, where it is a folder; else as it.
                let folder = if is_folder { path } else { parts.ok_or_else(nameless)?.0 };
                ["tar", "-C", folder, "-xf", "-"].map(str::to_owned).to_vec()
            }
        };
        Ok((self.begin_program(app, at, &words, (None, Reads::Ours)).await?, is_folder))
    }

    /// Whether something is so of a path in an instance. The path is an argument, never a part of the shell's program.
    async fn holds(&self, app: &Placement, at: &Reached, test: &str, path: &str) -> Result<bool, Error> {
        let nomad = &self.runner.hands().nomad;
        let asked = async {
            let script = format!("{}{test}", self.enters(at).await?);
            self.ends_well(nomad, at, &["sh", "-c", &script, "sh", path]).await
        };
        asked.await.map_err(|e| not_there(app, at, e))
    }
}
