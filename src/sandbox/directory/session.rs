//! One connection: requests in, answers out, in their order. Knows who is bound; keeps nothing else.
//!
//! Texts and codes are Bottin's where it has them. Operations that Bottin has not (modifyDN, unknown extended
//! ones) are answered "Operation not implemented by server"; controls, paging among them, are ignored.

use std::sync::Arc;

use ldap3_proto::LdapResultCode as Code;
use ldap3_proto::proto::{
    LdapBindCred, LdapBindRequest, LdapBindResponse, LdapCompareRequest, LdapExtendedResponse, LdapMsg,
    LdapOp, LdapPartialAttribute, LdapResult, LdapSearchRequest, LdapSearchResultEntry, LdapSearchScope,
    OID_WHOAMI,
};
use secrecy::SecretString;

use super::acl::{Acl, Action, Who};
use super::filter::{self, Unanswered};
use super::store::Store;
use super::tree::{Node, Refusal, is_operational};
use crate::engines::directory::hash;

/// The state of a connection.
#[derive(Debug, Clone)]
pub struct Session {
    store: Arc<Store>,
    acl: Arc<Acl>,
    who: Who,
}

/// What is to be done after a request.
#[derive(Debug)]
pub enum Next {
    /// Send these, go on reading.
    Answer(Vec<LdapMsg>),
    /// The client has gone.
    Close,
    /// The client does not speak LDAP.
    ProtocolError,
}

impl Session {
    /// Nobody is bound.
    pub fn new(store: Arc<Store>, acl: Arc<Acl>) -> Self {
        Self { store, acl, who: Who::anonymous() }
    }

    /// Carries out one request. Blocks on the disk.
    pub fn handle(&mut self, message: LdapMsg) -> Next {
        let id = message.msgid;
        let answer = match message.op {
            LdapOp::BindRequest(request) => {
                let res = result(self.bind(request));
                LdapOp::BindResponse(LdapBindResponse { res, saslcreds: None })
            }
            LdapOp::UnbindRequest => return Next::Close,
            LdapOp::AbandonRequest(_) => return Next::Answer(Vec::new()),
            LdapOp::SearchRequest(request) => {
                let (found, end) = self.search(&request);
                let entries = found.into_iter().map(LdapOp::SearchResultEntry);
                let ops = entries.chain([LdapOp::SearchResultDone(result(end))]);
                return Next::Answer(ops.map(|op| LdapMsg { msgid: id, op, ctrl: Vec::new() }).collect());
            }
            LdapOp::AddRequest(request) => LdapOp::AddResponse(result(self.store.write(|tree, stamp| {
                tree.add(&self.acl, &self.who, &request.dn, &request.attributes, stamp)
            }))),
            LdapOp::ModifyRequest(request) => {
                LdapOp::ModifyResponse(result(self.store.write(|tree, stamp| {
                    tree.modify(&self.acl, &self.who, &request.dn, &request.changes, stamp)
                })))
            }
            LdapOp::DelRequest(dn) => LdapOp::DelResponse(result(
                self.store.write(|tree, _| tree.delete(&self.acl, &self.who, &dn)),
            )),
            LdapOp::CompareRequest(request) => LdapOp::CompareResult(match self.compare(&request) {
                Ok(true) => coded(Code::CompareTrue, ""),
                Ok(false) => coded(Code::CompareFalse, ""),
                Err(refusal) => result(Err(refusal)),
            }),
            LdapOp::ModifyDNRequest(_) => LdapOp::ModifyDNResponse(not_implemented()),
            LdapOp::ExtendedRequest(request) if request.name == OID_WHOAMI => {
                let authz =
                    if self.who.is_anonymous() { String::new() } else { format!("dn:{}", self.who.dn) };
                let res = coded(Code::Success, "");
                LdapOp::ExtendedResponse(LdapExtendedResponse {
                    res,
                    name: None,
                    value: Some(authz.into_bytes()),
                })
            }
            LdapOp::ExtendedRequest(_) => {
                let res = not_implemented();
                LdapOp::ExtendedResponse(LdapExtendedResponse { res, name: None, value: None })
            }
            // Only a server sends the others.
            _ => return Next::ProtocolError,
        };
        Next::Answer(vec![LdapMsg { msgid: id, op: answer, ctrl: Vec::new() }])
    }

    fn bind(&mut self, request: LdapBindRequest) -> Result<(), Refusal> {
        // RFC 4511, 4.2.1: whatever comes of it, the former identity is gone. The right to try is the former's.
        let former = std::mem::replace(&mut self.who, Who::anonymous());
        if request.version != 3 {
            return Err(Refusal::new(Code::ProtocolError, "only LDAPv3 is spoken here"));
        }
        let LdapBindCred::Simple(password) = request.cred else {
            return Err(Refusal::new(Code::AuthMethodNotSupported, "Unsupported authentication method"));
        };
        let password = SecretString::from(password);
        let tree = self.store.seen();
        // An empty name is an anonymous bind, for which no rule is ever written.
        let dn = if request.dn.trim().is_empty() { String::new() } else { tree.own(&request.dn)? };
        if !self.acl.allows(&former, Action::Bind, &dn, &[]) {
            return Err(Refusal::new(Code::InsufficentAccessRights, "Insufficient access rights"));
        }
        let node = tree.get(&dn);
        let hashes = node.map_or(&[][..], |node| node.all("userpassword"));
        if hashes.is_empty() {
            // As long as a wrong password takes, and answered alike: who exists is not to be learnt here.
            hash::verify(&format!("{{SSHA512}}{}", "A".repeat(108)), &password);
        }
        match node {
            Some(node) if hashes.iter().any(|stored| hash::verify(stored, &password)) => {
                self.who = Who { dn, groups: node.all("memberof").to_vec() };
                Ok(())
            }
            _ => Err(Refusal::new(Code::InvalidCredentials, "No password match")),
        }
    }

    fn search(&self, request: &LdapSearchRequest) -> (Vec<LdapSearchResultEntry>, Result<(), Refusal>) {
        let mut found = Vec::new();
        let end = self.search_into(request, &mut found);
        (found, end)
    }

    fn search_into(
        &self,
        request: &LdapSearchRequest,
        found: &mut Vec<LdapSearchResultEntry>,
    ) -> Result<(), Refusal> {
        let tree = self.store.seen();
        let base = tree.search_base(&request.base)?;
        if !self.acl.allows(&self.who, Action::Read, &base, &[]) {
            let text = "Please specify a base object on which you have read rights";
            return Err(Refusal::new(Code::InsufficentAccessRights, text));
        }
        filter::check(&request.filter).map_err(|why| match why {
            Unanswered::Unsupported => Refusal::new(Code::UnwillingToPerform, "Unsupported filter"),
            Unanswered::TooLong => Refusal::new(Code::AdminLimitExceeded, "the filter has too many parts"),
        })?;
        let depth = base.split(',').count();
        let itself = tree
            .get(&base)
            .filter(|_| matches!(request.scope, LdapSearchScope::Base | LdapSearchScope::Subtree));
        let below = tree.below(&base).filter(|node| match request.scope {
            LdapSearchScope::Base => false,
            LdapSearchScope::OneLevel => node.dn.split(',').count() == depth + 1,
            LdapSearchScope::Subtree | LdapSearchScope::Children => true,
        });
        for node in itself.into_iter().chain(below) {
            let readable = |attr: &str| self.acl.allows(&self.who, Action::Read, &node.dn, &[attr]);
            if !self.acl.allows(&self.who, Action::Read, &node.dn, &[])
                || !filter::fits(&request.filter, node, &readable)
            {
                continue;
            }
            if request.sizelimit > 0
                && found.len() >= usize::try_from(request.sizelimit).unwrap_or(usize::MAX)
            {
                return Err(Refusal::new(Code::SizeLimitExceeded, "there are more entries"));
            }
            found.push(shown(node, request, &readable));
        }
        Ok(())
    }

    fn compare(&self, request: &LdapCompareRequest) -> Result<bool, Refusal> {
        let tree = self.store.seen();
        let dn = tree.own(&request.dn)?;
        let attr = request.atype.to_lowercase();
        if !self.acl.allows(&self.who, Action::Read, &dn, &[&attr]) {
            return Err(Refusal::new(Code::InsufficentAccessRights, "Insufficient access rights"));
        }
        let node =
            tree.get(&dn).ok_or_else(|| Refusal::new(Code::NoSuchObject, format!("{dn} does not exist")))?;
        let wanted = String::from_utf8_lossy(&request.val);
        Ok(node.all(&attr).iter().any(|value| filter::equal(&attr, value, &wanted)))
    }
}

/// The part of an entry that was asked for and may be read.
fn shown(node: &Node, request: &LdapSearchRequest, readable: &dyn Fn(&str) -> bool) -> LdapSearchResultEntry {
    let asked = |name: &str| {
        request.attrs.is_empty()
            || request.attrs.iter().any(|wanted| match wanted.as_str() {
                "*" => !is_operational(name),
                "+" => is_operational(name),
                other => other.eq_ignore_ascii_case(name),
            })
    };
    let attributes = node.attrs.iter().filter(|(name, _)| asked(name) && readable(name));
    let attributes = attributes.map(|(name, values)| {
        let vals = if request.typesonly { &[][..] } else { values.as_slice() };
        let vals = vals.iter().map(|value| value.clone().into_bytes()).collect();
        LdapPartialAttribute { atype: name.clone(), vals }
    });
    LdapSearchResultEntry { dn: node.dn.clone(), attributes: attributes.collect() }
}

fn result(outcome: Result<(), Refusal>) -> LdapResult {
    match outcome {
        Ok(()) => coded(Code::Success, ""),
        Err(Refusal { code, text }) => coded(code, &text),
    }
}

fn not_implemented() -> LdapResult {
    coded(Code::UnwillingToPerform, "Operation not implemented by server")
}

fn coded(code: Code, text: &str) -> LdapResult {
    LdapResult { code, matcheddn: String::new(), message: text.to_owned(), referral: Vec::new() }
}
