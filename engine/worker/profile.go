package worker

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"sync"
	"time"
)

// profileWithin bounds how long one profile may take, because the request names its duration.
const profileWithin = 10 * time.Minute

// serveProfile answers one HTTP request for /debug/pprof on the socket fd, and closes the socket.
// It works on goroutines of its own, so the loop goes on.
func serveProfile(fd int, log *slog.Logger) {
	file := os.NewFile(uintptr(fd), "profile")
	conn, err := net.FileConn(file)
	_ = file.Close() // FileConn works on a duplicate
	if err != nil {
		log.Warn("profile not served", "error", err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: profileWithin,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelInfo)}
	server.SetKeepAlivesEnabled(false)
	go func() { _ = server.Serve(&single{conn: conn}) }() // io.EOF at once; the connection goes on
}

// single is a listener with one connection.
type single struct {
	once sync.Once
	conn net.Conn
}

func (s *single) Accept() (conn net.Conn, err error) {
	err = io.EOF
	s.once.Do(func() { conn, err = s.conn, nil })
	return conn, err
}

func (s *single) Close() error   { return nil }
func (s *single) Addr() net.Addr { return s.conn.LocalAddr() }
