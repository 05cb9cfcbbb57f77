# What Terreau's agent needs of Nomad where ACLs are on, and nothing more:
#   nomad acl policy apply terreau-agent policies/nomad/terreau-agent.hcl

# Apps live in their tenant's namespace; the agent makes new ones as tenants are added.
namespace "*" {
  capabilities = [
    "list-jobs", "read-job", "parse-job",
    "submit-job", "scale-job", "read-job-scaling",
    "read-logs", "read-fs", "alloc-lifecycle",
    # A shell in an instance. `raw_exec` tasks run as Nomad's own user: there Nomad asks for alloc-node-exec too.
    "alloc-exec", "alloc-node-exec",
  ]
}

# Which nodes there are, at which site, and who holds a volume.
node {
  policy = "read"
}

# Members and the leader, for readiness.
agent {
  policy = "read"
}
