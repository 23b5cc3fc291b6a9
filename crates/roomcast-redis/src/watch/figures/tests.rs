//! Answers as Redis 7.0 gave them, as Redis 8 and Valkey word them, and odd ones.

use super::*;
use proptest::prelude::*;
use redis::IntoConnectionInfo;

/// What redis-server 7.0.15 answered to `INFO memory clients replication server stats`, without the lines on threads and
/// allocators.
const REDIS_7_0: &str = "# Memory\r\nused_memory:1008144\r\nused_memory_human:984.52K\r\nused_memory_rss:13107200\r\n\
    used_memory_peak:1067072\r\nused_memory_dataset_perc:22.56%\r\ntotal_system_memory:25276502016\r\n\
    total_system_memory_human:23.54G\r\nmaxmemory:3145728\r\nmaxmemory_human:3.00M\r\nmaxmemory_policy:noeviction\r\n\
    mem_fragmentation_ratio:13.34\r\nmem_clients_normal:1800\r\n\r\n# Clients\r\nconnected_clients:1\r\n\
    cluster_connections:0\r\nmaxclients:10000\r\nclient_recent_max_input_buffer:0\r\nblocked_clients:0\r\n\r\n\
    # Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
    slave0:ip=127.0.0.1,port=7002,state=online,offset=1,lag=0\r\nmaster_failover_state:no-failover\r\n\r\n\
    # Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\ntcp_port:17311\r\n\r\n# Stats\r\n\
    total_connections_received:2\r\nrejected_connections:3\r\nevicted_keys:4\r\nevicted_clients:0\r\n";

/// The fields of Redis 8, which has more sections and figures; a replica whose primary is away.
const REDIS_8: &str = "# Server\r\nredis_version:8.0.2\r\nredis_mode:standalone\r\nlistener0:name=tcp,bind=*,port=6379\r\n\
    # Clients\r\nconnected_clients:12\r\nmaxclients:10000\r\npubsub_clients:4\r\nwatching_clients:0\r\n\
    # Memory\r\nused_memory:2000000\r\ntotal_system_memory:1003114496\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n\
    mem_overhead_db_hashtable_rehashing:0\r\n# Replication\r\nrole:slave\r\nmaster_host:127.0.0.1\r\n\
    master_link_status:down\r\nslave_read_only:1\r\nconnected_slaves:0\r\n# Stats\r\nrejected_connections:0\r\n\
    evicted_keys:0\r\nevicted_scripts:0\r\n# Keysizes\r\n";

/// Valkey tells two versions, in lines that may end in `\n`.
const VALKEY: &str = "# Server\nredis_version:7.2.4\nserver_name:valkey\nvalkey_version:8.0.1\nserver_mode:standalone\n\
    # Clients\nconnected_clients:1\nmaxclients:10000\n# Replication\nrole:master\nconnected_slaves:0\n";

fn info(text: &str) -> RedisFigures {
    let mut figures = RedisFigures::default();
    figures.read_info(text);
    figures
}

#[test]
fn answers_of_several_versions() {
    assert_eq!(
        info(REDIS_7_0),
        RedisFigures {
            version: Some("7.0.15".to_owned()),
            memory_used: Some(1_008_144),
            memory_max: Some(3_145_728),
            memory_of_machine: Some(25_276_502_016),
            policy: Some("noeviction".to_owned()),
            clients: Some(1),
            clients_max: Some(10_000),
            clients_rejected: Some(3),
            keys_evicted: Some(4),
            is_primary: Some(true),
            replicas: Some(2),
            ..RedisFigures::default()
        }
    );
    let figures = info(REDIS_8);
    assert_eq!((figures.version.as_deref(), figures.policy.as_deref()), (Some("8.0.2"), Some("allkeys-lru")));
    assert_eq!((figures.memory_max, figures.clients), (Some(0), Some(12)));
    assert_eq!((figures.is_primary, figures.has_primary, figures.replicas), (Some(false), Some(false), Some(0)));
    let figures = info(VALKEY);
    assert_eq!((figures.version.as_deref(), figures.is_primary), (Some("8.0.1"), Some(true)));
    assert_eq!((figures.memory_used, figures.has_primary), (None, None));
}

#[test]
fn odd_and_missing_fields_are_unknown() {
    for text in ["", ":", "used_memory", "used_memory:", "used_memory:1.5G", "used_memory:-1", "role:boss\nrole:", "\0"]
    {
        assert_eq!(info(text), RedisFigures::default(), "{text:?}");
    }
    let huge = format!("used_memory:{}0\nmaxmemory:{}", u64::MAX, u64::MAX);
    assert_eq!((info(&huge).memory_used, info(&huge).memory_max), (None, Some(u64::MAX)));
    // A word is shown in the log and in a health check: no control characters, and not too long.
    assert_eq!(info("redis_version:7\u{1b}[31m").version.as_deref(), Some("7"));
    assert_eq!(info(&format!("redis_version:{}", "7".repeat(99))).version.map(|word| word.len()), Some(LONGEST_WORD));
}

#[test]
fn an_answer_at_the_limit_and_one_byte_past_it() {
    let last = "maxclients:7";
    let text = |filler: usize| format!("{}\n{last}", "x".repeat(filler));
    let fits = WATCH_ANSWER - last.len() - 1;
    assert_eq!(info(&text(fits)).clients_max, Some(7));
    assert_eq!(info(&text(fits + 1)).clients_max, None);
    // It is cut between characters.
    assert_eq!(info(&"é".repeat(WATCH_ANSWER)), RedisFigures::default());
}

fn entry(id: &str, address: &str) -> ClientEntry {
    ClientEntry {
        server: "redis://h:2".into_connection_info().unwrap(),
        id: id.to_owned(),
        address: address.to_owned(),
    }
}

/// The first line is as redis-server 7.0.15 wrote it; Redis 8 and Valkey have more fields.
#[test]
fn the_largest_buffer_of_our_own_connections() {
    let text = "id=13 addr=127.0.0.1:34114 laddr=127.0.0.1:17311 fd=7 name=roomcast-a-hears age=0 idle=0 flags=P db=0 \
                sub=0 psub=3 ssub=0 multi=-1 qbuf=26 qbuf-free=20448 argv-mem=10 multi-mem=0 rbs=16384 rbp=16384 obl=0 \
                oll=5 omem=20504 tot-mem=37658 events=r cmd=psubscribe user=default redir=-1 resp=3\n\
                id=14 addr=127.0.0.1:34115 name=roomcast-b-hears omem=99999999 tot-net-in=1 lib-name= io-thread=0\n\
                id=15 addr=127.0.0.1:34116 omem=700 watch=0\r\nid=16 omem=5\nomem=6\n\nid=17 addr=a omem=many\n";
    let largest = |ours: &[ClientEntry]| {
        let mut figures = RedisFigures::default();
        figures.read_clients(text, ours);
        figures.output_buffer
    };
    let (one, other) = (entry("13", "127.0.0.1:34114"), entry("15", "127.0.0.1:34116"));
    assert_eq!(largest(&[other.clone(), one]), Some(20_504));
    assert_eq!(largest(&[other]), Some(700));
    assert_eq!(largest(&[entry("14", "127.0.0.1:1"), entry("17", "a")]), None, "the id of another, and no number");
    assert_eq!(largest(&[]), None);
}

#[test]
fn the_limits_of_output_buffers() {
    let limits = |value: &str| {
        let mut figures = RedisFigures::default();
        figures.read_buffer_limits(value);
        figures.output_buffer_limit
    };
    let usual = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
    assert_eq!(limits(usual), Some(USUAL_BUFFER_LIMIT));
    assert_eq!(limits("pubsub 0 0 0 normal 1 2 3"), Some(RedisBufferLimit { hard: 0, soft: 0 }));
    for value in ["", "pubsub", "pubsub 1", "pubsub a b c", "normal 1 2 3"] {
        assert_eq!(limits(value), None, "{value:?}");
    }
}

proptest! {
    /// Anything may come from a proxy or a fork. What is read does not depend on what else is there.
    #[test]
    fn random_bytes(before in "[^:\n]{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..300), value in any::<u64>()) {
        let text = String::from_utf8_lossy(&bytes);
        let ours = [entry("1", "a:1")];
        let mut figures = info(&text);
        figures.read_clients(&text, &ours);
        figures.read_buffer_limits(&text);
        figures.read_info(&format!("{before}\nmaxclients:{value}\n"));
        figures.read_clients(&format!("{before}\nid=1 addr=a:1 omem={value}"), &ours);
        figures.read_buffer_limits(&format!("pubsub {value} {value} 60"));
        prop_assert_eq!(figures.clients_max, Some(value));
        prop_assert!(figures.output_buffer >= Some(value));
        prop_assert_eq!(figures.output_buffer_limit, Some(RedisBufferLimit { hard: value, soft: value }));
    }
}
