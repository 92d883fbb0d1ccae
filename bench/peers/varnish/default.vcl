# varnishd -f default.vcl: everything from its cache, which fills itself from the server on port {behind}.
vcl 4.1;

backend origin {
    .host = "127.0.0.1";
    .port = "{behind}";
}

sub vcl_backend_response {
    set beresp.ttl = 1h;
}
