//! What a folder looks like: the kinds of build that fit it, best first, each with the reason. Looks at names and a
//! few small files; runs nothing, follows no link, writes nothing.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A way to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A flake.
    Nix,
    /// A Dockerfile.
    Dockerfile,
    /// Files that are served as they are, from that folder (`.` for the root).
    Static {
        /// Relative to the folder.
        root: String,
    },
    /// The folder runs as it is.
    Archive {
        /// How it is started; empty where nobody can tell.
        command: Vec<String>,
    },
    /// Source of a language that a buildpack knows.
    Buildpack {
        /// `python`, `node`, `go`, `rust`, `ruby`, `php`, `java`.
        language: &'static str,
    },
}

/// A kind that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// The kind.
    pub kind: Kind,
    /// What gave it away: "there is a flake.nix".
    pub why: String,
}

/// Folders in which generators leave a site.
const SITE_ROOTS: [&str; 6] = [".", "public", "dist", "_site", "build", "site"];
/// Files that give a language away.
const LANGUAGES: [(&str, &str); 10] = [
    ("requirements.txt", "python"),
    ("pyproject.toml", "python"),
    ("package.json", "node"),
    ("go.mod", "go"),
    ("Cargo.toml", "rust"),
    ("Gemfile", "ruby"),
    ("composer.json", "php"),
    ("pom.xml", "java"),
    ("build.gradle", "java"),
    ("mix.exs", "elixir"),
];
/// Names that programs to be started usually bear.
const STARTERS: [&str; 6] = ["run", "start", "start.sh", "run.sh", "server", "app"];

/// Files that an interpreter starts, where nothing says how else.
const ENTRIES: [(&str, &str); 9] = [
    ("server.py", "python3"),
    ("app.py", "python3"),
    ("main.py", "python3"),
    ("server.js", "node"),
    ("app.js", "node"),
    ("index.js", "node"),
    ("main.js", "node"),
    ("server.rb", "ruby"),
    ("app.rb", "ruby"),
];
/// Folders that hold no app of their own.
const PASSED_OVER: [&str; 8] =
    ["node_modules", "vendor", "venv", "target", "docs", "tests", "test", "__pycache__"];

/// The kinds that fit folders of a folder, by their names: for where nothing is recognised in the folder itself. Looks no
/// deeper, and not into what is hidden.
pub fn detect_below(folder: &Path) -> Vec<(String, Vec<Detected>)> {
    let Ok(found) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = found
        .take(10_000)
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| !n.starts_with('.') && !PASSED_OVER.contains(&n.as_str()))
        .collect();
    names.sort();
    names.into_iter().map(|n| (n.clone(), detect(&folder.join(&n)))).filter(|(_, d)| !d.is_empty()).collect()
}

/// All kinds that fit, best first; empty where nothing is recognised.
pub fn detect(folder: &Path) -> Vec<Detected> {
    let mut all = Vec::new();
    let mut add = |kind, why: String| all.push(Detected { kind, why });
    let there = |name: &str| folder.join(name).symlink_metadata().is_ok_and(|m| m.is_file());
    if there("flake.nix") {
        add(Kind::Nix, "there is a flake.nix".into());
    }
    if there("Dockerfile") {
        add(Kind::Dockerfile, "there is a Dockerfile".into());
    }
    if let Some(command) = procfile(folder) {
        add(Kind::Archive { command }, "the Procfile has a line `web`".into());
    }
    let languages: Vec<_> = LANGUAGES.iter().filter(|(file, _)| there(file)).collect();
    if let Some(name) = program(folder) {
        let why = format!("{name} is a program");
        add(Kind::Archive { command: vec![format!("./{name}")] }, why);
    }
    // An index.html beside a package.json is more often a template than the site, but one in dist/ is its build.
    for root in SITE_ROOTS {
        let index = if root == "." { "index.html".to_owned() } else { format!("{root}/index.html") };
        if there(&index) {
            let why = format!("there is {index}");
            let at = if root == "." && !languages.is_empty() { all.len() } else { all.len().min(2) };
            all.insert(at, Detected { kind: Kind::Static { root: root.to_owned() }, why });
            break;
        }
    }
    // What a buildpack would install is missing where only the file is started.
    if languages.is_empty()
        && let Some((file, with)) = ENTRIES.iter().find(|(file, _)| there(file))
    {
        let command = vec![(*with).to_owned(), (*file).to_owned()];
        all.push(Detected { kind: Kind::Archive { command }, why: format!("there is {file}") });
    }
    for (file, language) in languages {
        all.push(Detected { kind: Kind::Buildpack { language }, why: format!("there is {file}") });
    }
    all
}

/// The command of the line `web` of a Procfile, where it can be split without a shell.
fn procfile(folder: &Path) -> Option<Vec<String>> {
    let path = folder.join("Procfile");
    path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(64 << 10).read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("web:"))?.trim();
    if line.is_empty() {
        return None;
    }
    // Anything that a shell would have to look at goes to a shell.
    if line.contains(['"', '\'', '$', '`', '|', '&', ';', '<', '>', '*', '\\', '(', '~']) {
        return Some(vec!["/bin/sh".into(), "-c".into(), format!("exec {line}")]);
    }
    Some(line.split_whitespace().map(str::to_owned).collect())
}

/// A file at the root (or in `bin`) that may be run: a usual name, else the only one there is.
fn program(folder: &Path) -> Option<String> {
    for prefix in ["", "bin/"] {
        let Ok(found) = std::fs::read_dir(folder.join(prefix)) else { continue };
        let mut names: Vec<String> = found
            .take(10_000)
            .flatten()
            .filter(|e| e.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o100 != 0))
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        names.sort();
        let usual = STARTERS.iter().find(|s| names.iter().any(|n| n == *s)).map(|s| (*s).to_owned());
        let only = if names.len() == 1 { names.pop() } else { None };
        if let Some(name) = usual.or(only) {
            return Some(format!("{prefix}{name}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(files: &[(&str, &str, u32)]) -> Vec<Kind> {
        let dir = tempfile::tempdir().expect("temp");
        for (name, content, mode) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("dir");
            std::fs::write(&path, content).expect("write");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).expect("mode");
        }
        detect(dir.path()).into_iter().map(|d| d.kind).collect()
    }

    #[test]
    fn a_site_a_program_and_source_are_told_apart() {
        assert_eq!(kinds(&[]), []);
        assert_eq!(kinds(&[("index.html", "", 0o644)]), [Kind::Static { root: ".".into() }]);
        assert_eq!(kinds(&[("dist/index.html", "", 0o644)]), [Kind::Static { root: "dist".into() }]);
        assert_eq!(kinds(&[("hello", "", 0o755)]), [Kind::Archive { command: vec!["./hello".into()] }]);
        assert_eq!(
            kinds(&[("bin/a", "", 0o755), ("bin/server", "", 0o755)]),
            [Kind::Archive { command: vec!["./bin/server".into()] }]
        );
        assert_eq!(
            kinds(&[("requirements.txt", "", 0o644), ("app.py", "", 0o644)]),
            [Kind::Buildpack { language: "python" }]
        );
    }

    #[test]
    fn a_well_known_file_is_started_by_its_interpreter_and_folders_are_looked_into() {
        let python = Kind::Archive { command: vec!["python3".into(), "server.py".into()] };
        assert_eq!(kinds(&[("server.py", "", 0o644)]), std::slice::from_ref(&python));
        let dir = tempfile::tempdir().expect("temp");
        for file in ["app/server.py", "node_modules/server.js", ".git/server.py", "notes/readme"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("dir");
            std::fs::write(path, "").expect("write");
        }
        assert_eq!(detect(dir.path()), []);
        let below: Vec<_> =
            detect_below(dir.path()).into_iter().map(|(n, d)| (n, d[0].kind.clone())).collect();
        assert_eq!(below, [("app".to_owned(), python)]);
    }

    #[test]
    fn a_flake_comes_first_and_all_that_fits_is_told() {
        let all = kinds(&[("Dockerfile", "", 0o644), ("flake.nix", "", 0o644), ("go.mod", "", 0o644)]);
        assert_eq!(all, [Kind::Nix, Kind::Dockerfile, Kind::Buildpack { language: "go" }]);
    }

    #[test]
    fn a_procfile_is_split_without_a_shell_where_that_is_safe() {
        let command = |text: &str| match kinds(&[("Procfile", text, 0o644)]).pop() {
            Some(Kind::Archive { command }) => command,
            _ => vec![],
        };
        assert_eq!(command("release: x\nweb: python3 app.py --fast\n"), ["python3", "app.py", "--fast"]);
        assert_eq!(command("web: gunicorn -b :$PORT\n"), ["/bin/sh", "-c", "exec gunicorn -b :$PORT"]);
        assert!(command("worker: x\n").is_empty());
    }
}
