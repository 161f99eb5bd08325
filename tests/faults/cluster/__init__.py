"""An engine on three nodes: three brokers, a database with a synchronous standby, and two replicas
of each service. The nodes are network namespaces of this machine, which needs Linux and root."""
