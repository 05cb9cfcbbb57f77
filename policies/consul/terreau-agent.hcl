# What Terreau's agent needs of Consul where ACLs are on, and nothing more:
#   consul acl policy create -name terreau-agent -rules @policies/consul/terreau-agent.hcl

# Our records, and the apps' secrets. The cluster's own are out of reach.
key_prefix "terreau/" {
  policy = "write"
}
key_prefix "secrets/" {
  policy = "write"
}
key_prefix "secrets/consul/" {
  policy = "deny"
}
key_prefix "secrets/nomad/" {
  policy = "deny"
}

# The agent's session: it stands on the node that it speaks to.
session_prefix "" {
  policy = "write"
}

# Who runs where, and whether it is well.
service_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "read"
}

# The agent's own service, with its tag for the proxy, and the stand-ins of services outside of the cluster.
service "terreau" {
  policy = "write"
}
# What stands at the routes of apps under maintenance.
service "terreau-maintenance" {
  policy = "write"
}
node_prefix "terreau-ext-" {
  policy = "write"
}
