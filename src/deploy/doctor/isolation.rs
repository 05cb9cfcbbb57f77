//! What keeps apps apart on the cluster as it is: no more than is so.

use crate::engines::EngineError;
use crate::model::wire::Isolation;
use crate::operation::Runner;

const ALWAYS: [&str; 2] = [
    "people: each sees and changes their own apps alone",
    "names, S3 keys and service accounts: each app has its own, and a key opens its own buckets alone",
];

/// Asks the engines, and says it.
pub(super) async fn isolation(runner: &Runner) -> Result<Isolation, EngineError> {
    let (nomad, consul) =
        tokio::try_join!(runner.hands().nomad.agent_self(), runner.hands().consul.self_info())?;
    Ok(of(nomad.acl, consul.acl))
}

fn of(nomad_acl: bool, consul_acl: bool) -> Isolation {
    let mut holds = ALWAYS.map(str::to_owned).to_vec();
    let mut does_not_hold = Vec::new();
    if nomad_acl {
        holds.push("Nomad: the code of an app has no rights at its API beyond its own job".to_owned());
    } else {
        does_not_hold.push(
            "code: Nomad's access control is off, and any task reaches the whole Nomad API through its own secrets/api.sock, \
             and by it every app and every secret. Run the code of people whom you trust alone, or switch Nomad's ACLs on"
                .to_owned(),
        );
    }
    does_not_hold.push(if consul_acl {
        "secrets in Consul: templates read with the rights of the Nomad client, so that only the jobs that Terreau renders keep \
         an app to its own; a raw job part may read those of others"
            .to_owned()
    } else {
        "secrets in Consul: its access control is off, and whatever reaches its port reads and writes all of them. Keep the \
         port on loopback, or switch Consul's ACLs on"
            .to_owned()
    });
    does_not_hold.push("the network: apps share that of their node, and reach each other's ports".to_owned());
    Isolation { nomad_acl, consul_acl, holds, does_not_hold }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_said_than_holds() {
        for (nomad, consul) in [(false, false), (false, true), (true, false), (true, true)] {
            let said = of(nomad, consul);
            assert_eq!(said.holds.iter().any(|h| h.starts_with("Nomad:")), nomad, "{said:?}");
            assert_eq!(said.does_not_hold.iter().any(|h| h.starts_with("code:")), !nomad, "{said:?}");
            assert_eq!(
                said.does_not_hold.iter().any(|h| h.contains("reads and writes all")),
                !consul,
                "{said:?}"
            );
            assert!(said.does_not_hold.iter().any(|h| h.starts_with("the network:")), "{said:?}");
        }
    }
}
