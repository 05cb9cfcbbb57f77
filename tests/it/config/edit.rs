//! `terreau env edit`: in the person's own editor.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::World;
use crate::cli::{Ran, run};

impl World {
    /// An editor that looks at the file's rights, notes where it was, and carries out `script` on it.
    fn editor(&self, script: &str) -> PathBuf {
        let path = self.path().join("editor.sh");
        let seen = self.path().join("seen");
        let text = format!(
            "#!/bin/sh\nset -e\nstat -c '%a' \"$1\" \"$(dirname \"$1\")\" > {seen}\necho \"$1\" >> {seen}\ncat \"$1\" >> {seen}\n{script}\n",
            seen = seen.display()
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    fn edits(&self, script: &str) -> Ran {
        let editor = self.editor(script);
        let mut command = self.command(&["env", "edit"]);
        command.env("EDITOR", editor);
        tokio::task::block_in_place(|| run(command, ""))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn env_edit_sends_what_was_changed_from_a_private_file_that_goes_away() {
    let w = World::new("").await;
    w.expect(0, &["deploy"]);
    w.told(0, &["env", "import", "-"], "A=1\nB='two words'\nC=3\n");
    let before = w.head().await;
    let same = w.edits("true");
    assert_eq!(same.code, 0, "{}", same.err);
    assert!(same.err.contains("nothing was changed"), "{}", same.err);
    assert_eq!(w.head().await, before);
    let seen = std::fs::read_to_string(w.path().join("seen")).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..2], ["600", "700"]);
    assert!(!std::path::Path::new(lines[2]).exists(), "the file is removed");
    assert!(!std::path::Path::new(lines[2]).parent().unwrap().exists());
    assert!(seen.ends_with("A=1\nB='two words'\nC=3\n"), "{seen}");

    for (script, why) in [
        ("echo 'B=\"open' > \"$1\"", "line 1: the quote"),
        ("echo 9=x >> \"$1\"", "digit"),
        ("exit 3", "ended with"),
    ] {
        let faulty = w.edits(script);
        assert_eq!(faulty.code, 1, "{}", faulty.err);
        assert!(faulty.err.contains(why) && faulty.err.contains("nothing was sent"), "{}", faulty.err);
    }
    assert_eq!(w.head().await, before);

    let done = w.edits("sed -i -e '/^A=/d' -e 's/^C=.*/C=four/' \"$1\"; echo 'D=5' >> \"$1\"");
    assert_eq!(done.code, 0, "{}", done.err);
    w.comes_to_have("C", Some("four")).await;
    assert_eq!(
        (w.has("A").await, w.has("B").await.as_deref(), w.has("D").await.as_deref()),
        (None, Some("two words"), Some("5"))
    );
    assert_eq!(w.listed("B", "set").unwrap()["version"], 1, "what was left alone was not sent");
}
