//! [`members`] and [`cluster_nodes`]: read an answer to CLUSTER NODES.

/// A node of a Cluster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) is_primary: bool,
    /// It is the node that answers.
    pub(crate) is_myself: bool,
}

/// Host and port of the nodes in an answer to CLUSTER NODES, without those that have failed or have no address.
/// `by_name`: take the name that a node announces, if it does, in place of its IP: its certificate has the name rather
/// than the IP.
pub(crate) fn cluster_nodes(text: &str, by_name: bool) -> impl Iterator<Item = (&str, u16)> {
    members(text, by_name).map(|member| (member.host, member.port))
}

/// The same nodes, with their roles.
pub(crate) fn members(text: &str, by_name: bool) -> impl Iterator<Item = Member<'_>> {
    text.lines().filter_map(move |line| {
        let mut fields = line.split(' ');
        let (_, address, flags) = (fields.next()?, fields.next()?, fields.next()?);
        if flags.split(',').any(|flag| matches!(flag, "fail" | "handshake" | "noaddr")) {
            return None;
        }
        // `host:port@bus-port`; since Redis 7 `,name` may follow, and later versions may add `,key=value`. Asked over
        // TLS, a Cluster with `tls-cluster yes` tells the ports of TLS.
        let (address, more) = address.split_once('@')?;
        let (host, port) = address.rsplit_once(':')?;
        let name = more.split(',').nth(1).filter(|name| by_name && !matches!(*name, "" | "?") && !name.contains('='));
        let has = |flag: &str| flags.split(',').any(|other| other == flag);
        let (host, port) = (name.unwrap_or(host), port.parse().ok()?);
        Some(Member { host, port, is_primary: has("master"), is_myself: has("myself") })
            .filter(|member| !member.host.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_of_a_cluster() {
        let text = "a 127.0.0.1:30004@31004,host slave e 0 1426238317239 4 connected\n\
                    b 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922\n\
                    c 127.0.0.1:30003@31003,c master,fail - 0 1 3 disconnected\n\
                    d :0@0 master,noaddr - 0 1 3 disconnected\n\
                    e ::1:30005@31005,,shard-id=5 myself,master - 0 0 1 connected 0-5460\n\
                    f 127.0.0.1:30006@31006,? slave e 0 0 1 connected\n\nrubbish\n";
        let nodes: Vec<_> = cluster_nodes(text, false).collect();
        assert_eq!(nodes, [("127.0.0.1", 30004), ("127.0.0.1", 30002), ("::1", 30005), ("127.0.0.1", 30006)]);
        let nodes: Vec<_> = cluster_nodes(text, true).collect();
        assert_eq!(nodes, [("host", 30004), ("127.0.0.1", 30002), ("::1", 30005), ("127.0.0.1", 30006)]);
        let roles: Vec<_> =
            members(text, false).map(|member| (member.port, member.is_primary, member.is_myself)).collect();
        let expected = [(30004, false, false), (30002, true, false), (30005, true, true), (30006, false, false)];
        assert_eq!(roles, expected);
    }
}
