//! Further people of a development cluster, to try out what one may see of another's apps.

use std::path::PathBuf;

use super::SandboxError;
use super::config::{BASE_DN, Layout, fresh_password, keep_secret};
use super::directory::seed::a_person;
use crate::engines::directory::{Change, Directory, DirectoryConfig};
use crate::engines::{EngineError, Fault};

/// Makes a person who may log in, unless they are there; gives the file with their password.
pub(super) async fn add(layout: &Layout, login: &str) -> Result<PathBuf, SandboxError> {
    let wrong = |e: EngineError| SandboxError::Other(format!("{login} was not made: {e}"));
    let service = layout.service_password_file();
    let password = std::fs::read_to_string(&service).map_err(SandboxError::file("read", &service))?;
    let url = format!("ldap://127.0.0.1:{}", layout.ports.ldap());
    let config = DirectoryConfig::new(url, BASE_DN, Layout::service_dn(), password.trim().into());
    let directory = Directory::new(config).map_err(wrong)?;
    let (dn, group) =
        (directory.people_dn(login).map_err(wrong)?, directory.group_dn("login").map_err(wrong)?);
    if login == layout.user {
        return Ok(layout.password_file());
    }
    let file = layout.password_file_of(login);
    if directory.get(&dn).await.map_err(wrong)?.is_none() {
        let folder = layout.path("people");
        std::fs::create_dir_all(&folder).map_err(SandboxError::file("make", &folder))?;
        // Before the person: one whose password nobody knows could never log in.
        keep_secret(&file, fresh_password)?;
        let password = std::fs::read_to_string(&file).map_err(SandboxError::file("read", &file))?;
        let attrs = a_person(login, &password.trim().into());
        let attrs: Vec<(&str, Vec<String>)> = attrs.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        directory.add(&dn, &attrs).await.map_err(wrong)?;
    } else if !file.exists() {
        return Err(SandboxError::Other(format!("{login} is there already, with a password of their own")));
    }
    // Also of one who is there: a kill may have come in between.
    let join = [Change::Add { attr: "member".to_owned(), values: vec![dn] }];
    match directory.modify(&group, &join).await {
        Err(e) if e.fault != Fault::Conflict => Err(wrong(e)),
        _ => Ok(file),
    }
}
