module example.org/compat

go 1.19

require github.com/gorilla/websocket v1.5.0

// The distribution's package: golang-github-gorilla-websocket-dev.
replace github.com/gorilla/websocket => /usr/share/gocode/src/github.com/gorilla/websocket
