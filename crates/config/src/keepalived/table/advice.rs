//! The keywords themselves. What each does is in keepalived.conf(5); here stands what to do without it.

use super::Table;
use super::Treat::{Default, Dropped, Note, Refused};

const PROCESSES: &str =
    "keepalived's processes do not exist here; Mainstay sets scheduling and memory locking itself";
const FIREWALL: &str = "Mainstay keeps a gate of its own in front of each vip and needs no firewall settings";
const BUFFERS: &str = "Mainstay sizes its sockets itself";
const SNMP: &str = "there is no SNMP: read /metrics (set metrics in [node]) or `mainstay status --json`";
const DBUS: &str = "there is no D-Bus: use `mainstay events -f` or a webhook in notify";
const FIFO: &str = "there are no FIFOs: use notify with exec or webhook, or read `mainstay events -f`";
const IPVS: &str = "virtual servers are not served yet";
const RELOAD: &str =
    "Mainstay checks before each reload and keeps the old configuration when the new one is broken";
const FILES: &str = "keepalived's own files do not exist here";
const VMAC: &str = "virtual MAC interfaces are not supported: the vip uses the interface's own MAC";
const STATIC: &str = "let the system's own network configuration (networkd, ifupdown, NetworkManager) set it";
const BFD: &str =
    "there is no BFD: use version = 3 with a short advert (10ms and more), or a ping probe in requires";
const LINKBEAT: &str = "the kernel tells Mainstay about carrier; interfaces are not polled";

/// All tables, the top level first.
pub(in super::super) const ALL: &[&Table] = &[
    &TOP,
    &GLOBAL,
    &SCRIPT,
    &PROCESS,
    &TRACK_FILE,
    &GROUP,
    &INSTANCE,
    &AUTHENTICATION,
    &GARP_GROUP,
    &BFD_INSTANCE,
    &TRACK_GROUP,
    &VIRTUAL_SERVER,
    &REAL_SERVER,
    &CHECKER,
    &URL,
    &SSL,
    &HOST,
];

/// The file itself.
pub(in super::super) const TOP: Table = Table {
    block: "",
    mapped: "global_defs vrrp_script vrrp_track_process vrrp_process track_file vrrp_track_file \
             vrrp_sync_group vrrp_instance garp_group bfd_instance track_group virtual_server \
             virtual_server_group SSL",
    others: &[
        ("net_namespace", Dropped("start mainstay in the namespace: ip netns exec NAME mainstay run")),
        ("net_namespace_ipvs", Dropped(IPVS)),
        ("namespace_with_ipsets use_pid_dir", Note(FILES)),
        ("instance", Note("give each instance a directory of its own: --runtime-dir and --state-dir")),
        ("linkbeat_use_polling linkbeat_interfaces", Note(LINKBEAT)),
        ("child_wait_time", Note("the time to stop is systemd's TimeoutStopSec")),
        ("static_ipaddress static_routes static_rules", Dropped(STATIC)),
        (
            "interface_up_down_delays",
            Dropped("track the interface with an `up` probe and set its fall and rise"),
        ),
        ("include_check", Note("a missing include is always reported")),
    ],
};

/// global_defs.
pub(in super::super) const GLOBAL: Table = Table {
    block: "global_defs",
    mapped: "router_id lvs_id notification_email notification_email_from smtp_server smtp_helo_name \
             smtp_connect_timeout smtp_alert smtp_alert_vrrp script_user vrrp_version vrrp_strict \
             vrrp_skip_check_adv_addr vrrp_check_unicast_src vrrp_down_timer_adverts vrrp_mcast_group4 \
             vrrp_mcast_group6 default_interface vrrp_startup_delay vrrp_min_garp vrrp_garp_interval \
             vrrp_gna_interval vrrp_garp_master_delay vrrp_garp_master_repeat vrrp_garp_master_refresh \
             vrrp_garp_master_refresh_repeat vrrp_garp_lower_prio_delay vrrp_garp_lower_prio_repeat",
    others: &[
        (
            "process_names process_name vrrp_process_name checker_process_name lvs_process_name \
         bfd_process_name max_auto_priority min_auto_priority_delay vrrp_priority checker_priority \
         bfd_priority vrrp_no_swap checker_no_swap bfd_no_swap vrrp_cpu_affinity checker_cpu_affinity \
         bfd_cpu_affinity vrrp_rt_priority checker_rt_priority bfd_rt_priority vrrp_rlimit_rttime \
         checker_rlimit_rttime bfd_rlimit_rttime vrrp_rlimit_rtime checker_rlimit_rtime bfd_rlimit_rtime",
            Note(PROCESSES),
        ),
        ("instance", Note("give each instance a directory of its own: --runtime-dir and --state-dir")),
        ("net_namespace", Dropped("start mainstay in the namespace: ip netns exec NAME mainstay run")),
        ("net_namespace_ipvs", Dropped(IPVS)),
        ("child_wait_time", Note("the time to stop is systemd's TimeoutStopSec")),
        ("tmp_config_directory config_save_dir use_pid_dir namespace_with_ipsets umask", Note(FILES)),
        ("data_use_instance random_seed state_file_location", Note(FILES)),
        ("json_version json_file_location", Note("use `mainstay status --json`")),
        (
            "startup_script shutdown_script",
            Dropped("start it from systemd: ExecStartPre= or ExecStopPost= of mainstay.service"),
        ),
        ("startup_script_timeout shutdown_script_timeout", Note("systemd has timeouts of its own")),
        ("smtp_alert_checker checker_log_all_failures no_checker_emails rs_init_notifies", Note(IPVS)),
        ("no_email_faults", Dropped("mail cannot leave faults out: use exec entries with on = [...]")),
        ("lvs_sync_daemon lvs_sync_daemon_interface lvs_timeouts", Dropped(IPVS)),
        ("lvs_flush lvs_flush_on_stop lvs_flush_onstop", Dropped(IPVS)),
        ("lvs_notify_fifo lvs_notify_fifo_script", Dropped(FIFO)),
        ("notify_fifo notify_fifo_script vrrp_notify_fifo vrrp_notify_fifo_script", Dropped(FIFO)),
        ("fifo_write_vrrp_states_on_reload", Note(FIFO)),
        ("vrrp_notify_priority_changes", Note("`mainstay events -f` tells every change of priority")),
        ("vrrp_garp_extra_if", Dropped("set announce = { refresh = \"...\" } on the vip")),
        ("vrrp_lower_prio_no_advert vrrp_higher_prio_send_advert", Note(YIELD)),
        (
            "nftables nftables_priority nftables_counters nftables_ifindex vrrp_nftables vrrp_iptables \
         vrrp_ipsets disable_local_igmp",
            Note(FIREWALL),
        ),
        ("nftables_ipvs nftables_ipvs_priority nftables_ipvs_start_fwmark", Dropped(IPVS)),
        ("snmp_socket enable_snmp_vrrp enable_snmp_checker enable_snmp_keepalived", Dropped(SNMP)),
        ("enable_snmp_rfc enable_snmp_rfcv2 enable_snmp_rfcv3 enable_traps", Dropped(SNMP)),
        ("enable_dbus dbus_service_name", Dropped(DBUS)),
        // Scripts that others can write to are refused here whatever the file says.
        ("enable_script_security", Default),
        // An interface that is missing is waited for in `fault`.
        ("dynamic_interfaces", Default),
        (
            "vrrp_netlink_cmd_rcv_bufs vrrp_netlink_cmd_rcv_bufs_force vrrp_netlink_monitor_rcv_bufs \
         vrrp_netlink_monitor_rcv_bufs_force lvs_netlink_cmd_rcv_bufs lvs_netlink_cmd_rcv_bufs_force \
         lvs_netlink_monitor_rcv_bufs lvs_netlink_monitor_rcv_bufs_force process_monitor_rcv_bufs \
         process_monitor_rcv_bufs_force vrrp_rx_bufs_policy vrrp_rx_bufs_multiplier",
            Note(BUFFERS),
        ),
        ("log_unknown_vrids", Note("`mainstay doctor` and mainstay_ metrics count adverts of unknown vrids")),
        ("vmac_prefix vmac_addr_prefix", Note(VMAC)),
        ("vrrp_delay_after_boot", Dropped("use start_delay in [node], counted from mainstay's start")),
        ("include_check", Note("a missing include is always reported")),
        ("reload_check_config reload_repeat reload_file", Note(RELOAD)),
        ("reload_time_file", Dropped("run `mainstay reload` from a timer on each node")),
        ("linkbeat_use_polling", Note(LINKBEAT)),
    ],
};

const YIELD: &str = "Mainstay always answers a lower advert with its own, and announces again after it";

/// vrrp_script.
pub(in super::super) const SCRIPT: Table = Table {
    block: "vrrp_script",
    mapped: "script interval timeout weight rise fall user init_fail",
    others: &[],
};

/// vrrp_track_process.
pub(in super::super) const PROCESS: Table = Table {
    block: "vrrp_track_process",
    mapped: "process param_match weight quorum quorum_max fork_delay terminate_delay delay full_command",
    others: &[],
};

/// track_file at the top level.
pub(in super::super) const TRACK_FILE: Table =
    Table { block: "track_file", mapped: "file weight init_file", others: &[] };

/// vrrp_sync_group.
pub(in super::super) const GROUP: Table = Table {
    block: "vrrp_sync_group",
    mapped: "group track_interface track_script track_file track_process track_bfd notify_master \
             notify_backup notify_fault notify_stop notify smtp_alert sync_group_tracking_weight \
             global_tracking",
    others: &[
        ("notify_deleted", Note("a vip that a reload removes is told as stop")),
        ("notify_priority_changes", Note("`mainstay events -f` tells every change of priority")),
    ],
};

/// vrrp_instance.
pub(in super::super) const INSTANCE: Table = Table {
    block: "vrrp_instance",
    mapped: "state interface virtual_router_id version priority advert_int nopreempt preempt_delay \
             native_ipv6 down_timer_adverts authentication mcast_src_ip unicast_src_ip unicast_peer \
             check_unicast_src unicast_ttl mcast_dst_ip skip_check_adv_addr strict_mode \
             dont_track_primary garp_master_delay garp_master_repeat garp_master_refresh \
             garp_master_refresh_repeat garp_lower_prio_delay garp_lower_prio_repeat virtual_ipaddress \
             virtual_ipaddress_excluded track_interface track_script track_process track_file track_bfd \
             notify_master notify_backup notify_fault notify_stop notify smtp_alert",
    others: &[
        // What they ask for is what happens anyway.
        ("preempt accept debug", Default),
        (
            "no_accept",
            Dropped(
                "a vip answers on its addresses: to drop what is sent to them, add a rule to your firewall",
            ),
        ),
        ("use_vmac use_vmac_addr vmac_xmit_base use_ipvlan", Refused(VMAC)),
        ("vrf", Dropped("name the VRF's member as interface")),
        (
            "virtual_routes virtual_rules",
            Refused(
                "set and remove them in notify scripts (on = [\"active\"] and on = [\"backup\", \"fault\", \"stop\"])",
            ),
        ),
        (
            "no_virtual_ipaddress",
            Dropped("write install = false: nothing is put on the interface, notify only"),
        ),
        ("auth_hmac", Refused("keepalived's HMAC is not supported: both nodes must speak without it")),
        ("track_src_ip", Note("a vip whose source address is missing sends nothing and is in fault anyway")),
        ("unicast_fault_no_peer", Note("a vip with an empty unicast list speaks multicast: list its peers")),
        (
            "old_unicast_checksum",
            Dropped("keepalived before 1.3.7 is not spoken to: use version = 2, or upgrade the other node"),
        ),
        ("promote_secondaries", Note("a vip stands as /32 or /128, so no other address depends on it")),
        ("garp_extra_if", Dropped("set announce = { refresh = \"...\" } on the vip")),
        ("lower_prio_no_advert higher_prio_send_advert", Note(YIELD)),
        (
            "notify_master_rx_lower_pri",
            Dropped(
                "Mainstay announces the addresses again by itself; if the script moves a cloud address, run it from on = [\"active\"]",
            ),
        ),
        ("notify_deleted", Note("a vip that a reload removes is told as stop")),
        ("notify_priority_changes", Note("`mainstay events -f` tells every change of priority")),
        ("kernel_rx_buf_size", Note(BUFFERS)),
        ("linkbeat_use_polling", Note(LINKBEAT)),
        ("timer_expired_backup", Note("a backup that was late judges nobody in that tick")),
        ("lvs_sync_daemon_interface", Dropped(IPVS)),
    ],
};

/// authentication.
pub(in super::super) const AUTHENTICATION: Table =
    Table { block: "authentication", mapped: "auth_type auth_pass", others: &[] };

/// garp_group.
pub(in super::super) const GARP_GROUP: Table =
    Table { block: "garp_group", mapped: "garp_interval gna_interval interface interfaces", others: &[] };

/// bfd_instance, reported as a whole.
pub(in super::super) const BFD_INSTANCE: Table = Table {
    block: "bfd_instance",
    mapped: "",
    others: &[(
        "neighbor_ip neighbour_ip source_ip min_rx min_tx idle_tx multiplier passive ttl hoplimit \
         max_hops weight vrrp checker multihop",
        Default,
    )],
};

/// Advice for whatever needs BFD.
pub(in super::super) const NO_BFD: &str = BFD;

/// track_group, reported as a whole.
pub(in super::super) const TRACK_GROUP: Table =
    Table { block: "track_group", mapped: "", others: &[("group", Default)] };

/// virtual_server, reported as a whole, like all that stands in it.
pub(in super::super) const VIRTUAL_SERVER: Table = Table {
    block: "virtual_server",
    mapped: "",
    others: &[(
        "lvs_sched lb_algo flag-1 flag-2 flag-3 sh-port sh-fallback mh-port mh-fallback ops hashed \
         lvs_method lb_kind nat_mask persistence_engine persistence_timeout persistence_granularity \
         protocol ha_suspend smtp_alert virtualhost snmp_name alpha omega quorum hysteresis quorum_up \
         quorum_down ip_family sorry_server sorry_server_inhibit sorry_server_lvs_method connect_timeout \
         retry nb_get_retry delay_before_retry warmup delay_loop inhibit_on_failure real_server",
        Default,
    )],
};

/// real_server.
pub(in super::super) const REAL_SERVER: Table = Table {
    block: "real_server",
    mapped: "",
    others: &[(
        "weight lvs_method lb_kind notify_up notify_down uthreshold lthreshold smtp_alert virtualhost \
         snmp_name alpha connect_timeout retry delay_before_retry warmup delay_loop inhibit_on_failure \
         log_all_failures track_file HTTP_GET SSL_GET TCP_CHECK SMTP_CHECK DNS_CHECK MISC_CHECK \
         BFD_CHECK UDP_CHECK PING_CHECK FILE_CHECK",
        Default,
    )],
};

/// All checkers: which keyword belongs to which matters once they are served.
pub(in super::super) const CHECKER: Table = Table {
    block: "a checker",
    mapped: "",
    others: &[(
        "connect_ip connect_port bindto bind_if bind_port fwmark alpha connect_timeout retry \
         nb_get_retry delay_before_retry warmup delay_loop log_all_failures http_protocol fast_recovery \
         url enable_sni virtualhost tls_compliant helo_name host type name misc_path misc_timeout \
         misc_dynamic user payload require_reply min_reply_length max_reply_length track_file dynamic \
         weight",
        Default,
    )],
};

/// url of HTTP_GET and SSL_GET.
pub(in super::super) const URL: Table = Table {
    block: "url",
    mapped: "",
    others: &[(
        "path digest status_code virtualhost regex regex_no_match regex_options regex_stack \
         regex_min_offset regex_max_offset",
        Default,
    )],
};

/// SSL at the top level.
pub(in super::super) const SSL: Table = Table {
    block: "SSL",
    mapped: "",
    others: &[("password ca certificate key cafile certfile keyfile", Default)],
};

/// host of SMTP_CHECK, as old files have it.
pub(in super::super) const HOST: Table = Table {
    block: "host",
    mapped: "",
    others: &[("connect_ip connect_port bindto bind_if bind_port fwmark", Default)],
};
