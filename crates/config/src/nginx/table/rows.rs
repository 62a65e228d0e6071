//! The rows: nginx 1.29's directives of main, events, http and stream.
//!
//! Contexts: M main, E events, H http, S server, L location, I `if` in a location, J `if` in a server, X limit_except,
//! U upstream; A stream, B its server, C its upstream.

use super::Row;
use super::Takes::{self, Any, Args, Block, Data, Flag, Number, Size, Time};
use super::Treat::{self, Content, Dropped, Guard, Note, Silent, Used};

const fn row(names: &'static str, contexts: &'static str, takes: Takes, treat: Treat) -> Row {
    Row { names, contexts, takes, treat }
}

/// As many as there are.
const MANY: usize = 1000;

const CACHE: &str = "nothing is cached: each request goes to a backend";
const BODY: &str = "responses go out unchanged";
const OTHER: &str = "put a server that speaks it behind this one, and forward to it over HTTP";
const TLS_LIST: &str =
    "TLS 1.2 and 1.3 are spoken with the cipher suites and curves of rustls, none of them weak";
const KEPT: &str = "buffers grow with what is in them, within bounds of their own";
const RESOLVER: &str = "names of backends are looked up as the system does, again every [edge] resolve";

/// All of them.
pub(super) const ROWS: &[Row] = &[
    // Main and events.
    row("http stream events", "M", Block(0, 0), Used),
    row(
        "mail",
        "M",
        Any,
        Dropped("mail is not proxied; a listener with protocol = \"tcp\" passes it on as it is"),
    ),
    row(
        "worker_processes worker_cpu_affinity worker_priority worker_rlimit_nofile worker_rlimit_core \
         worker_shutdown_timeout daemon master_process pid user error_log lock_file pcre_jit timer_resolution env \
         debug_points thread_pool working_directory load_module ssl_engine ssl_object_cache_inheritable \
         quic_bpf stall_threshold google_perftools_profiles",
        "M",
        Any,
        Silent,
    ),
    row(
        "worker_connections use multi_accept accept_mutex accept_mutex_delay worker_aio_requests debug_connection",
        "E",
        Any,
        Silent,
    ),
    row("error_log", "HSLAB", Any, Silent),
    // Http: what is read.
    row("server", "HA", Block(0, 0), Used),
    row("upstream", "HA", Block(1, 1), Used),
    row("location", "SL", Block(1, 2), Used),
    row("if", "SL", Block(1, 10), Used),
    row("limit_except", "L", Block(1, MANY), Used),
    row("listen", "SB", Args(1, MANY), Used),
    row("server_name", "SB", Args(1, MANY), Used),
    row("root", "HSLI", Args(1, 1), Used),
    row("alias", "L", Args(1, 1), Used),
    row("index", "HSL", Args(1, MANY), Used),
    row("try_files", "SL", Args(2, MANY), Used),
    row(
        "autoindex etag gzip gzip_vary proxy_intercept_errors proxy_pass_request_headers",
        "HSLI",
        Flag,
        Used,
    ),
    row("proxy_pass_request_body proxy_request_buffering grpc_intercept_errors", "HSL", Flag, Used),
    row("default_type", "HSL", Args(1, 1), Used),
    row("types", "HSL", Data(0, 0), Used),
    row("error_page", "HSLI", Args(2, MANY), Used),
    row("internal", "L", Args(0, 0), Used),
    row("return", "SLIJ", Args(1, 2), Used),
    row("return", "B", Args(1, 1), Used),
    row("rewrite", "SLIJ", Args(2, 3), Used),
    row("set", "SLIJ", Args(2, 2), Used),
    row("break", "SLIJ", Args(0, 0), Used),
    row("map", "HA", Data(2, 2), Used),
    row("geo", "HA", Data(1, 2), Used),
    row("split_clients", "HA", Data(2, 2), Used),
    row("add_header", "HSLI", Args(2, 3), Used),
    row("expires", "HSLI", Args(1, 2), Used),
    row("allow deny", "HSLX", Args(1, 1), Used),
    row("allow deny", "AB", Args(1, 1), Used),
    row("satisfy", "HSL", Args(1, 1), Used),
    row("auth_basic auth_basic_user_file", "HSLX", Args(1, 1), Used),
    row("limit_req_zone", "H", Args(3, 4), Used),
    row("limit_conn_zone", "HA", Args(2, 2), Used),
    row("limit_req", "HSL", Args(1, 3), Used),
    row("limit_conn", "HSL", Args(2, 2), Used),
    row("limit_req_status limit_conn_status", "HSL", Number, Used),
    row("limit_req_dry_run limit_conn_dry_run", "HSL", Flag, Used),
    row("limit_rate", "HSLI", Args(1, 1), Used),
    row("client_max_body_size", "HSL", Size, Used),
    row("client_header_timeout", "HS", Time, Used),
    row("client_body_timeout send_timeout", "HSL", Time, Used),
    row("keepalive_timeout", "HSL", Args(1, 2), Used),
    row("keepalive_requests", "HSL", Number, Used),
    row("large_client_header_buffers", "HS", Args(2, 2), Used),
    row("max_headers", "HS", Number, Used),
    row("underscores_in_headers", "HS", Flag, Used),
    row("http2", "HS", Flag, Used),
    row("http2_max_concurrent_streams", "HS", Number, Used),
    row("absolute_redirect port_in_redirect server_name_in_redirect", "HSL", Flag, Used),
    row("gzip_types gzip_proxied", "HSL", Args(1, MANY), Used),
    row("gzip_http_version", "HSL", Args(1, 1), Used),
    row("gzip_min_length", "HSL", Size, Used),
    row("gzip_comp_level", "HSL", Number, Used),
    row("gzip_static", "HSL", Args(1, 1), Used),
    row("set_real_ip_from real_ip_header", "HSL", Args(1, 1), Used),
    row("set_real_ip_from", "AB", Args(1, 1), Used),
    row("real_ip_recursive", "HSL", Flag, Used),
    row("access_log", "HSLIX", Args(1, MANY), Used),
    row("access_log", "AB", Args(1, MANY), Used),
    row("log_format", "HA", Args(2, MANY), Used),
    row("ssl", "HS", Flag, Used),
    row(
        "ssl_certificate ssl_certificate_key ssl_client_certificate ssl_trusted_certificate",
        "HSAB",
        Args(1, 1),
        Used,
    ),
    row("ssl_protocols", "HSAB", Args(1, MANY), Used),
    row("ssl_verify_client", "HSAB", Args(1, 1), Used),
    row("ssl_session_tickets", "HSAB", Flag, Used),
    row("ssl_reject_handshake", "HSAB", Flag, Used),
    row("ssl_handshake_timeout", "AB", Time, Used),
    // Proxying.
    row("proxy_pass grpc_pass", "LIX", Args(1, 1), Used),
    row("proxy_set_header grpc_set_header", "HSL", Args(2, 2), Used),
    row("proxy_hide_header proxy_pass_header grpc_hide_header grpc_pass_header", "HSL", Args(1, 1), Used),
    row("proxy_http_version proxy_method proxy_set_body", "HSL", Args(1, 1), Used),
    row("proxy_redirect", "HSL", Args(1, 2), Used),
    row("proxy_cookie_domain proxy_cookie_path", "HSL", Args(1, 2), Used),
    row("proxy_connect_timeout proxy_send_timeout proxy_read_timeout", "HSL", Time, Used),
    row("grpc_connect_timeout grpc_send_timeout grpc_read_timeout", "HSL", Time, Used),
    row("proxy_next_upstream grpc_next_upstream", "HSL", Args(1, MANY), Used),
    row("proxy_next_upstream_tries grpc_next_upstream_tries", "HSL", Number, Used),
    row("proxy_next_upstream_timeout grpc_next_upstream_timeout", "HSL", Time, Used),
    row("proxy_ignore_headers grpc_ignore_headers", "HSL", Args(1, MANY), Used),
    row("proxy_ssl_name proxy_ssl_trusted_certificate", "HSLAB", Args(1, 1), Used),
    row("proxy_ssl_certificate proxy_ssl_certificate_key", "HSLAB", Args(1, 1), Used),
    row("proxy_ssl_verify proxy_ssl_server_name", "HSLAB", Flag, Used),
    row(
        "grpc_ssl_name grpc_ssl_trusted_certificate grpc_ssl_certificate grpc_ssl_certificate_key",
        "HSL",
        Args(1, 1),
        Used,
    ),
    row("grpc_ssl_verify grpc_ssl_server_name", "HSL", Flag, Used),
    row(
        "proxy_buffering proxy_buffer_size proxy_buffers proxy_busy_buffers_size proxy_temp_path \
         proxy_temp_file_write_size proxy_max_temp_file_size proxy_headers_hash_max_size \
         proxy_headers_hash_bucket_size proxy_send_lowat proxy_socket_keepalive proxy_socket_rcvbuf \
         proxy_socket_sndbuf grpc_buffer_size grpc_socket_keepalive proxy_ssl_session_reuse grpc_ssl_session_reuse \
         proxy_ssl_verify_depth grpc_ssl_verify_depth proxy_ssl_password_file proxy_ssl_certificate_cache \
         grpc_ssl_certificate_cache proxy_request_dynamic proxy_allow_upstream",
        "HSLI",
        Any,
        Silent,
    ),
    row(
        "proxy_ssl_protocols proxy_ssl_ciphers grpc_ssl_protocols grpc_ssl_ciphers",
        "HSL",
        Any,
        Note(TLS_LIST),
    ),
    row(
        "proxy_ssl_conf_command grpc_ssl_conf_command proxy_ssl_key_log grpc_ssl_key_log",
        "HSL",
        Any,
        Note(TLS_LIST),
    ),
    row(
        "proxy_ssl_crl grpc_ssl_crl",
        "HSLAB",
        Any,
        Dropped("certificates of backends are not looked up in revocation lists"),
    ),
    row(
        "proxy_bind grpc_bind",
        "HSL",
        Any,
        Dropped("the system chooses the source address towards backends"),
    ),
    row(
        "proxy_limit_rate proxy_header_timeout",
        "HSL",
        Any,
        Dropped("backends are read as fast as the client takes it in"),
    ),
    row(
        "proxy_cache proxy_cache_valid proxy_cache_key proxy_cache_use_stale proxy_cache_min_uses \
         proxy_cache_methods proxy_cache_lock proxy_cache_lock_timeout proxy_cache_lock_age proxy_cache_bypass \
         proxy_no_cache proxy_cache_revalidate proxy_cache_background_update proxy_cache_convert_head \
         proxy_cache_max_range_offset proxy_cache_purge proxy_store proxy_store_access",
        "HSLI",
        Any,
        Dropped(CACHE),
    ),
    row("proxy_cache_path", "H", Any, Dropped(CACHE)),
    row("proxy_force_ranges", "HSL", Any, Dropped("ranges are the backend's affair")),
    row("proxy_cookie_flags", "HSL", Any, Dropped("flags of cookies are not changed")),
    row("proxy_pass_trailers", "HSL", Any, Note("trailers are passed")),
    // Upstream.
    row("server", "U", Args(1, MANY), Used),
    row("server", "C", Args(1, MANY), Used),
    row("least_conn", "UC", Args(0, 0), Used),
    row("ip_hash", "U", Args(0, 0), Used),
    row("hash", "UC", Args(1, 2), Used),
    row("random", "UC", Args(0, 2), Used),
    row("least_time", "UC", Args(1, 3), Used),
    row("keepalive", "U", Args(1, 2), Used),
    row("keepalive_requests", "U", Number, Used),
    row("keepalive_timeout", "U", Time, Used),
    row("keepalive_time", "U", Any, Silent),
    row("sticky", "U", Args(1, MANY), Used),
    row("queue", "U", Args(1, 2), Used),
    row("zone", "UC", Any, Silent),
    row("resolver resolver_timeout", "HSLUABC", Any, Note(RESOLVER)),
    row("state ntlm", "UC", Any, Dropped("the pool has the backends that stand in the file")),
    row(
        "health_check match",
        "HSLUABC",
        Any,
        Dropped("write `probe = { http = \"/healthz\" }` into the pool"),
    ),
    // Content that does not exist here.
    row("fastcgi_pass uwsgi_pass scgi_pass memcached_pass", "LIX", Any, Content(OTHER)),
    row("empty_gif", "L", Any, Content("put the picture into a directory and serve it as a file")),
    row(
        "stub_status",
        "SL",
        Any,
        Content("numbers of the edge are in `mainstay status --json` and in /metrics"),
    ),
    row("perl js_content content_by_lua_block content_by_lua_file echo", "LIX", Any, Content(OTHER)),
    row("random_index flv mp4 hls f4f", "L", Any, Dropped("the files are sent as they are")),
    row("tunnel_pass", "LIX", Any, Content("requests to connect are not taken")),
    // Access control that does not exist here.
    row(
        "auth_request auth_jwt",
        "HSLX",
        Any,
        Guard("write `jwt = { ... }` into the route, or let the backend decide"),
    ),
    row("auth_oidc", "HSL", Any, Guard("let the backend decide")),
    row(
        "auth_request_set auth_jwt_key_file auth_jwt_key_request auth_jwt_type auth_jwt_leeway",
        "HSLX",
        Any,
        Silent,
    ),
    row("access_by_lua_block access_by_lua_file js_access", "HSLI", Any, Guard("let the backend decide")),
    row(
        "secure_link secure_link_md5 secure_link_secret",
        "HSL",
        Any,
        Dropped("the variables $secure_link and $secure_link_expires are empty"),
    ),
    row("valid_referers", "SL", Args(1, MANY), Used),
    row("auth_delay", "HSL", Any, Dropped("wrong passwords are answered at once")),
    // Responses that would be changed.
    row(
        "sub_filter sub_filter_once sub_filter_types sub_filter_last_modified addition_types add_before_body \
         add_after_body ssi ssi_types ssi_silent_errors ssi_last_modified ssi_value_length ssi_min_file_chunk \
         charset charset_types source_charset override_charset image_filter image_filter_buffer \
         image_filter_jpeg_quality image_filter_sharpen image_filter_transparency image_filter_webp_quality \
         image_filter_interlace xslt_stylesheet xslt_types xml_entities xslt_last_modified xslt_param \
         xslt_string_param slice userid userid_domain userid_expires userid_flags userid_mark userid_name \
         userid_p3p userid_path userid_service add_trailer js_body_filter js_header_filter",
        "HSLI",
        Any,
        Dropped(BODY),
    ),
    row("charset_map", "H", Any, Dropped(BODY)),
    row("gunzip", "HSL", Any, Dropped("compressed responses of backends are passed as they are")),
    row("mirror mirror_request_body", "HSL", Any, Dropped("requests are not copied")),
    row("post_action", "HSLI", Any, Dropped("nothing follows a request")),
    row(
        "dav_methods dav_access create_full_put_path min_delete_depth",
        "HSL",
        Any,
        Dropped("files are only read"),
    ),
    row("limit_rate_after", "HSLI", Any, Dropped("limit_rate holds from the first byte on")),
    row("add_header_inherit add_trailer_inherit", "HSLI", Args(1, 1), Used),
    row("merge_slashes", "HS", Flag, Used),
    row("ignore_invalid_headers", "HS", Flag, Used),
    row("recursive_error_pages", "HSL", Flag, Used),
    row("disable_symlinks", "HSL", Any, Dropped("symbolic links are followed")),
    row("if_modified_since", "HSL", Args(1, 1), Used),
    row("max_ranges", "HSL", Number, Used),
    row("autoindex_format", "HSL", Args(1, 1), Used),
    row("gzip_disable", "HSL", Any, Note("every client that says it takes gzip gets it")),
    row("server_tokens", "HSL", Any, Silent),
    row("early_hints", "HSL", Any, Note("interim responses of backends are passed")),
    row(
        "chunked_transfer_encoding",
        "HSL",
        Any,
        Note("HTTP/1.1 clients get chunks where the length is not known"),
    ),
    row("rewrite_log uninitialized_variable_warn log_not_found log_subrequest", "HSLIJ", Any, Silent),
    row(
        "sendfile sendfile_max_chunk tcp_nopush tcp_nodelay types_hash_max_size types_hash_bucket_size \
         server_names_hash_max_size server_names_hash_bucket_size variables_hash_max_size \
         variables_hash_bucket_size map_hash_max_size map_hash_bucket_size referer_hash_max_size \
         referer_hash_bucket_size client_body_buffer_size client_body_temp_path client_body_in_file_only \
         client_body_in_single_buffer client_header_buffer_size connection_pool_size request_pool_size \
         output_buffers postpone_output send_lowat read_ahead aio aio_write directio directio_alignment \
         open_file_cache open_file_cache_valid open_file_cache_min_uses open_file_cache_errors \
         open_log_file_cache reset_timedout_connection lingering_close lingering_time lingering_timeout \
         subrequest_output_buffer_size gzip_buffers gzip_window gzip_hash gunzip_buffers keepalive_disable \
         keepalive_time keepalive_min_timeout msie_padding msie_refresh autoindex_exact_size autoindex_localtime \
         fastcgi_temp_path uwsgi_temp_path scgi_temp_path limit_req_log_level limit_conn_log_level \
         http2_recv_buffer_size http2_body_preread_size http2_chunk_size http2_idle_timeout \
         http2_max_field_size http2_max_header_size http2_max_requests http2_recv_timeout http2_pool_size \
         http2_max_concurrent_pushes http2_push_preload auth_request_uri perl_modules perl_require \
         proxy_headers_hash geoip_proxy geoip_proxy_recursive xclient image_filter_log \
         js_import js_path js_var js_preload_object js_shared_dict_zone js_fetch_buffer_size \
         js_fetch_timeout js_fetch_verify js_fetch_trusted_certificate js_fetch_protocols js_fetch_ciphers \
         js_fetch_max_response_buffer_size js_fetch_verify_depth memcached_bind memcached_buffer_size \
         memcached_connect_timeout memcached_gzip_flag memcached_next_upstream memcached_next_upstream_timeout \
         memcached_next_upstream_tries memcached_read_timeout memcached_send_timeout memcached_socket_keepalive",
        "HSLI",
        Any,
        Silent,
    ),
    row("http2_push", "HSL", Any, Note("nothing is pushed: browsers ignore it")),
    row(
        "http3 http3_hq http3_max_concurrent_streams http3_stream_buffer_size quic_active_connection_id_limit \
         quic_gso quic_host_key quic_retry",
        "HS",
        Any,
        Dropped("HTTP/3 is not spoken: clients fall back to HTTP/2"),
    ),
    row(
        "fastcgi_param fastcgi_index fastcgi_split_path_info fastcgi_intercept_errors fastcgi_buffers \
         fastcgi_buffer_size fastcgi_busy_buffers_size fastcgi_read_timeout fastcgi_send_timeout \
         fastcgi_connect_timeout fastcgi_hide_header fastcgi_pass_header fastcgi_ignore_headers fastcgi_keep_conn \
         fastcgi_next_upstream fastcgi_next_upstream_tries fastcgi_next_upstream_timeout fastcgi_param_if \
         fastcgi_pass_request_body fastcgi_pass_request_headers fastcgi_request_buffering fastcgi_buffering \
         fastcgi_cache fastcgi_cache_path fastcgi_cache_key fastcgi_cache_valid fastcgi_cache_bypass \
         fastcgi_no_cache fastcgi_cache_use_stale fastcgi_cache_lock fastcgi_cache_methods fastcgi_cache_min_uses \
         fastcgi_catch_stderr fastcgi_limit_rate fastcgi_max_temp_file_size fastcgi_temp_file_write_size \
         fastcgi_bind fastcgi_force_ranges fastcgi_ignore_client_abort fastcgi_socket_keepalive fastcgi_store \
         uwsgi_param uwsgi_read_timeout uwsgi_send_timeout uwsgi_connect_timeout uwsgi_buffers uwsgi_buffer_size \
         uwsgi_busy_buffers_size uwsgi_modifier1 uwsgi_modifier2 uwsgi_hide_header uwsgi_pass_header \
         uwsgi_intercept_errors uwsgi_next_upstream uwsgi_request_buffering uwsgi_buffering uwsgi_ssl_verify \
         uwsgi_ssl_name uwsgi_ssl_server_name uwsgi_ssl_trusted_certificate uwsgi_ignore_headers \
         uwsgi_max_temp_file_size scgi_param scgi_read_timeout scgi_send_timeout scgi_connect_timeout \
         scgi_buffers scgi_buffer_size scgi_hide_header scgi_pass_header scgi_intercept_errors \
         scgi_next_upstream scgi_request_buffering scgi_buffering scgi_ignore_headers perl_set \
         proxy_ignore_client_abort",
        "HSLI",
        Any,
        Silent,
    ),
    row("js_set", "HSLAB", Any, Dropped("its variable is empty")),
    row("auth_jwt_claim_set auth_jwt_header_set", "H", Any, Dropped("write {jwt_name} for a claim")),
    row("geoip_country geoip_city geoip_org", "HA", Any, Dropped("its variables are empty")),
    row(
        "modern_browser modern_browser_value ancient_browser ancient_browser_value",
        "HSL",
        Any,
        Dropped("its variables are empty; write a map of {http_user_agent}"),
    ),
    row(
        "ssl_session_cache ssl_session_timeout ssl_buffer_size ssl_dhparam ssl_prefer_server_ciphers \
         ssl_verify_depth ssl_session_ticket_key ssl_certificate_cache ssl_certificate_compression",
        "HSAB",
        Any,
        Silent,
    ),
    row(
        "ssl_ciphers ssl_ecdh_curve ssl_conf_command ssl_early_data ssl_key_log",
        "HSAB",
        Any,
        Note(TLS_LIST),
    ),
    row(
        "ssl_stapling ssl_stapling_file ssl_stapling_responder ssl_stapling_verify",
        "HSAB",
        Any,
        Note("no OCSP response is attached; browsers ask for none"),
    ),
    row("ssl_crl", "HSAB", Any, Dropped("client certificates are not looked up in revocation lists")),
    row(
        "ssl_ocsp ssl_ocsp_cache ssl_ocsp_responder",
        "HSAB",
        Any,
        Dropped("OCSP is not asked about client certificates"),
    ),
    row(
        "ssl_password_file",
        "HSAB",
        Any,
        Dropped("a key must not be encrypted: `openssl pkey -in KEY -out PLAIN`"),
    ),
    row("ssl_alpn", "AB", Any, Dropped("no protocol is negotiated on tcp")),
    // Stream.
    row("proxy_pass", "B", Args(1, 1), Used),
    row("pass", "B", Any, Dropped("the server has no pool")),
    row("ssl_preread", "AB", Flag, Used),
    row("proxy_timeout proxy_connect_timeout", "AB", Time, Used),
    row("proxy_responses", "AB", Number, Used),
    row("proxy_ssl proxy_protocol", "AB", Flag, Used),
    row("set", "B", Args(2, 2), Used),
    row("proxy_protocol_timeout", "AB", Any, Silent),
    row("proxy_next_upstream proxy_next_upstream_tries proxy_next_upstream_timeout", "AB", Any, Silent),
    row("proxy_requests", "AB", Any, Dropped("a UDP session ends by proxy_timeout or proxy_responses")),
    row("proxy_bind", "AB", Any, Dropped("the system chooses the source address towards backends")),
    row("proxy_upload_rate proxy_download_rate", "AB", Any, Dropped("nothing is slowed down")),
    row("proxy_half_close", "AB", Any, Note("each direction closes by itself")),
    row("proxy_session_drop", "AB", Any, Dropped("sessions to a backend that went away end by themselves")),
    row(
        "limit_conn limit_conn_status limit_conn_dry_run",
        "AB",
        Any,
        Dropped("write max_connections into the listener"),
    ),
    row(
        "js_access js_filter js_preread js_var js_import js_path js_periodic js_set_stream",
        "AB",
        Any,
        Dropped(BODY),
    ),
    row(
        "tcp_nodelay preread_buffer_size preread_timeout proxy_buffer_size proxy_socket_keepalive \
         proxy_ssl_session_reuse proxy_ssl_verify_depth proxy_ssl_password_file variables_hash_max_size \
         variables_hash_bucket_size map_hash_max_size map_hash_bucket_size open_log_file_cache \
         server_names_hash_max_size server_names_hash_bucket_size limit_conn_log_level proxy_ssl_certificate_cache",
        "AB",
        Any,
        Silent,
    ),
    row(
        "proxy_ssl_protocols proxy_ssl_ciphers proxy_ssl_conf_command proxy_ssl_key_log",
        "AB",
        Any,
        Note(TLS_LIST),
    ),
    row("proxy_upstream_buffer proxy_downstream_buffer", "AB", Any, Note(KEPT)),
];
