package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"distributor/bench/proc"
	"distributor/bench/subscriber"
)

// peer is a WebSocket library to compare with: a program of bench/peers.
type peer struct {
	name, module string
	build        func(ctx context.Context, b *bench, p *peer) error // sets run
	run          []string                                           // program and arguments

	// What its clients say first, and what a message stands in, apart from the
	// frame; messages of one frame are separated by line ends.
	greeting, before, after string
}

func peers() []*peer {
	return []*peer{
		{name: "gorilla", module: "github.com/gorilla/websocket", build: goPeer},
		{name: "gws", module: "github.com/lxzan/gws", build: goPeer},
		{name: "nbio", module: "github.com/lesismal/nbio", build: goPeer},
		{
			name: "centrifuge", module: "github.com/centrifugal/centrifuge", build: goPeer,
			greeting: `{"id":1,"connect":{}}`, before: `{"push":{"channel":"f","pub":{"data":`, after: `}}}`,
		},
		{name: "npm ws", module: "ws", build: nodePeer},
	}
}

// peerPatience is how long one may take for a round: one that loses a message
// never has delivered all.
const peerPatience = 60 * time.Second

// buildPeers makes what there is in b.peersDir. What cannot be built is
// skipped, and said so.
func (b *bench) buildPeers(ctx context.Context) error {
	if b.peersDir == "" || b.peers != nil {
		return nil
	}
	b.report.say("peers: building")
	b.peers = []*peer{}
	for _, p := range peers() {
		if err := p.build(ctx, b, p); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			b.skip(p, fmt.Errorf("it cannot be built: %w", err))
			continue
		}
		b.peers = append(b.peers, p)
	}
	return nil
}

// skip leaves a peer out from now on.
func (b *bench) skip(p *peer, why error) {
	text := fmt.Sprintf("%s is left out: %v", p.name, why)
	b.peers = slices.DeleteFunc(slices.Clone(b.peers), func(x *peer) bool { return x == p })
	b.report.note(text)
}

func goPeer(ctx context.Context, b *bench, p *peer) error {
	p.run = []string{filepath.Join(b.dir, "peers", p.name)}
	return b.command(ctx, b.peersDir, "go", "build", "-o", p.run[0], "./"+p.name)
}

func nodePeer(ctx context.Context, b *bench, p *peer) error {
	dir := filepath.Join(b.peersDir, "ws")
	p.run = []string{"node", filepath.Join(dir, "main.mjs")}
	if _, err := exec.LookPath("node"); err != nil {
		return err
	}
	// npm writes that file last, from the lock.
	lock, lockErr := os.Stat(filepath.Join(dir, "package-lock.json"))
	made, madeErr := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	if lockErr == nil && madeErr == nil && !made.ModTime().Before(lock.ModTime()) {
		return nil
	}
	return b.command(ctx, dir, "npm", "ci", "--no-audit", "--no-fund")
}

// command runs a program on all CPUs.
func (b *bench) command(ctx context.Context, dir, name string, args ...string) error {
	var out strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	if err := proc.StartOn(cmd, b.all); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		text := strings.TrimSpace(out.String())
		return fmt.Errorf("%s %s: %w: %s", name, args[0], err, text[max(0, len(text)-300):])
	}
	return nil
}

// peerCommand is what a peer is told (peers/peer/doc.go); one member is set.
type peerCommand struct {
	Serve *peerServe `json:"serve,omitempty"`
	Await int        `json:"await,omitempty"`
	Burst int        `json:"burst,omitempty"`
	Send  int        `json:"send,omitempty"`
	Sent  bool       `json:"sent,omitempty"`
}

type peerServe struct {
	File     string `json:"file"`
	Compress bool   `json:"compress"`
}

type peerAnswer struct {
	Address string `json:"address"`
	Joined  int    `json:"joined"`
	Lost    int    `json:"lost"`
}

// peerServer is one that runs.
type peerServer struct {
	*peer
	*proc.Child
	Address  string
	compress bool
}

// startPeer starts one with the frames of a stage. The end of ctx kills it.
func (b *bench) startPeer(ctx context.Context, p *peer, st stage, compress bool) (*peerServer, error) {
	child, err := proc.StartProgram(ctx, b.server, p.name, p.run[0], p.run[1:]...)
	if err != nil {
		return nil, err
	}
	var a peerAnswer
	err = child.Ask(peerCommand{Serve: &peerServe{st.frames, compress}}, &a)
	if err == nil && a.Address == "" {
		err = errors.New("it has no address")
	}
	if err != nil {
		return nil, errors.Join(err, child.Close())
	}
	return &peerServer{p, child, a.Address, compress}, nil
}

func (s *peerServer) target() subscriber.Target {
	return subscriber.Target{Address: s.Address, Unsigned: true, Greeting: s.greeting, Compress: s.compress}
}

// await waits until so many clients get what is broadcast.
func (s *peerServer) await(clients int) error {
	var a peerAnswer
	return s.Ask(peerCommand{Await: clients}, &a)
}

// kept tells whether it has kept all its clients.
func (s *peerServer) kept() error {
	var a peerAnswer
	if err := s.Ask(peerCommand{Sent: true}, &a); err != nil {
		return err
	}
	if a.Lost > 0 {
		return fmt.Errorf("it has closed %d of %d connections", a.Lost, a.Joined)
	}
	return nil
}

// least is how many bytes a client has received at least when it has this part
// of a stage.
func (p *peer) least(of part) uint64 {
	if p.before == "" {
		return of.frames
	}
	return of.payloads + uint64(of.records*(len(p.before)+len(p.after)))
}

// peerBurst measures a peer that broadcasts a part of a stage, from the first
// message until all clients have all. With check some clients verify what they
// get.
func (b *bench) peerBurst(ctx context.Context, p *peer, st stage, of part, clients int, check bool) (m measurement, err error) {
	ctx, stop := context.WithTimeout(ctx, peerPatience)
	defer stop()
	s, err := b.startPeer(ctx, p, st, false)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	fleet, err := subscriber.Start(ctx, b.generator)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, fleet.Close()) }()
	if err := fleet.Connect(s.target(), clients); err != nil {
		return m, err
	}
	checking := make(chan error, checkers)
	checked := 0
	for ; check && checked < checkers; checked++ {
		c, err := dialPeer(s, st.data)
		if err != nil {
			return m, err
		}
		defer c.Close()
		go func() { checking <- c.all(ctx, of.records) }()
	}
	if err := s.await(clients + checked); err != nil {
		return m, err
	}
	books := processes{servers: []int{s.PID()}, subscribers: fleet.PID()}
	before, err := b.read(books)
	if err != nil {
		return m, err
	}
	if err := s.Tell(peerCommand{Burst: of.records}); err != nil {
		return m, err
	}
	if _, err := fleet.Until(p.least(of)); err != nil {
		return m, err
	}
	after, err := b.read(books)
	for ; checked > 0; checked-- {
		err = errors.Join(err, <-checking)
	}
	return after.since(before), cmp.Or(err, s.kept())
}

// pacedPeer measures one at a steady rate.
func (b *bench) pacedPeer(ctx context.Context, p *peer, st stage, size latencySize) (m pace, err error) {
	ctx, stop := context.WithTimeout(ctx, peerPatience)
	defer stop()
	s, err := b.startPeer(ctx, p, st, size.compress)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return b.paced(ctx, size, underPace{
		logs: filepath.Join(st.dir, p.name), target: s.target(), processes: processes{servers: []int{s.PID()}},
		dial:  func() (receiver, error) { return dialPeer(s, st.data) },
		ready: func() error { return s.await(size.clients) },
		tell:  func() error { return s.Tell(peerCommand{Send: 1}) },
	})
}

// pacedPeers measures those that size is for at a steady rate, but not to warm up.
func (b *bench) pacedPeers(ctx context.Context, name string, round int, st stage, size latencySize) (now map[string]pace, ms []measurement, err error) {
	if !size.peers || round == 0 {
		return nil, nil, nil
	}
	now, err = eachPeer(ctx, b, func(p *peer) (pace, error) {
		if size.compress && !slices.Contains(compressing, p.name) {
			return pace{}, errLeftOut
		}
		m, err := b.pacedPeer(ctx, p, st, size)
		if err == nil {
			b.report.round(name, p.name, round, m.measurement, m.extra())
			ms = append(ms, m.measurement)
		}
		return m, err
	})
	return now, ms, err
}

// errLeftOut is for a peer that cannot do what is measured: it is not, this time.
var errLeftOut = errors.New("not measured here")

// eachPeer measures all that are left, one after the other. One that fails is
// skipped from then on.
func eachPeer[T any](ctx context.Context, b *bench, measure func(*peer) (T, error)) (map[string]T, error) {
	results := make(map[string]T)
	for _, p := range b.peers {
		result, err := measure(p)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errLeftOut):
		case err != nil:
			b.skip(p, err)
		default:
			results[p.name] = result
		}
	}
	return results, nil
}

// others are the results of peers, by name and round.
type others[T any] map[string][]T

func (o others[T]) add(round map[string]T) {
	for name, result := range round {
		o[name] = append(o[name], result)
	}
}

// complete are those that were measured in all rounds, in the order of peers.
func (o others[T]) complete(rounds int) (names []string) {
	for _, p := range peers() {
		if len(o[p.name]) == rounds && rounds > 0 {
			names = append(names, p.name)
		}
	}
	return names
}
