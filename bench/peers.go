package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"distributor/bench/peers"
	"distributor/bench/proc"
	"distributor/bench/subscriber"
)

// peer is a server to compare with: one that uses a WebSocket library, or the baseline.
type peer struct {
	name string
	role string // of this program; "" for npm ws
	bare bool   // its clients make no upgrade
}

var baseline = &peer{name: "raw", role: peers.RawRole, bare: true}

var libraries = []*peer{
	{name: "gorilla", role: peers.GorillaRole},
	{name: "gws", role: peers.GwsRole},
	{name: "npm ws"},
}

// peerPatience is how long a peer may take for a round. A peer that loses a message would never
// finish.
const peerPatience = 60 * time.Second

// preparePeers installs what is missing. A peer that cannot be installed is skipped.
func (b *bench) preparePeers(ctx context.Context) error {
	if b.peers != nil || b.wsDir == "" {
		return nil
	}
	b.peers = libraries
	for _, p := range libraries {
		if p.role != "" {
			continue
		}
		if err := b.installWS(ctx); err != nil {
			b.skip(p, fmt.Errorf("it cannot be installed: %w", err))
		}
	}
	return ctx.Err()
}

func (b *bench) installWS(ctx context.Context) error {
	if _, err := exec.LookPath("node"); err != nil {
		return err
	}
	// npm writes the second file last, from the first.
	lock, lockErr := os.Stat(filepath.Join(b.wsDir, "package-lock.json"))
	made, madeErr := os.Stat(filepath.Join(b.wsDir, "node_modules", ".package-lock.json"))
	if lockErr == nil && madeErr == nil && !made.ModTime().Before(lock.ModTime()) {
		return nil
	}
	b.report.say("npm ws: installing")
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund")
	cmd.Dir = b.wsDir
	if out, err := cmd.CombinedOutput(); err != nil {
		text := strings.TrimSpace(string(out))
		return fmt.Errorf("npm ci: %w: %s", err, text[max(0, len(text)-300):])
	}
	return nil
}

// skip excludes a peer from now on.
func (b *bench) skip(p *peer, why error) {
	b.peers = slices.DeleteFunc(slices.Clone(b.peers), func(x *peer) bool { return x == p })
	b.report.note(fmt.Sprintf("%s is left out: %v", p.name, why))
}

// eachPeer measures all remaining peers. A peer that fails is skipped from then on.
func (t *turn) eachPeer(
	ctx context.Context, one func(context.Context, *peer) (measurement, error),
) {
	t.run(func() error { return t.preparePeers(ctx) })
	for _, p := range t.peers {
		t.run(func() error {
			within, stop := context.WithTimeout(ctx, peerPatience)
			defer stop()
			m, err := one(within, p)
			err = errors.Join(err, within.Err(), t.end())
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				t.skip(p, err)
			default:
				t.add(p.name, m)
			}
			return nil
		})
	}
}

// peerServer is a running peer.
type peerServer struct {
	*proc.Child
	target subscriber.Target
	stage  stage
}

// startPeer starts a peer with the frames of a stage. end ends it.
func (b *bench) startPeer(ctx context.Context, p *peer, st stage) (s *peerServer, err error) {
	s = &peerServer{stage: st}
	if p.role != "" {
		s.Child, err = proc.StartChild(ctx, b.server, p.role)
	} else {
		cmd := b.server.Command(ctx, "node", filepath.Join(b.wsDir, "main.mjs"))
		s.Child, err = proc.StartProgram(cmd, p.name)
	}
	if err != nil {
		return nil, err
	}
	b.started = append(b.started, s.Close)
	var a peers.Answer
	err = s.Ask(peers.Command{Serve: st.frames}, &a)
	if err == nil && a.Address == "" {
		err = errors.New("it has no address")
	}
	s.target = subscriber.Target{Address: a.Address, Bare: p.bare, Unsigned: true}
	return s, err
}

func (s *peerServer) dial() (receiver, error) { return dialFrames(s.target, s.stage.data) }

// await waits until a number of clients get the broadcasts.
func (s *peerServer) await(clients int) error {
	var a peers.Answer
	return s.Ask(peers.Command{Await: clients}, &a)
}

// burst makes the peer send the next n messages as fast as the clients take them.
func (s *peerServer) burst(messages int) error { return s.Send(peers.Command{Burst: messages}) }

// peerBurst measures a peer that broadcasts a part of a stage, from the first message until all
// clients have all. If checked, some clients compare every frame.
func (b *bench) peerBurst(
	ctx context.Context, p *peer, st stage, of part, clients int, checked bool,
) (m measurement, err error) {
	s, err := b.startPeer(ctx, p, st)
	if err != nil {
		return m, err
	}
	fleet, err := b.fleet(ctx)
	if err != nil {
		return m, err
	}
	if err := fleet.Connect(s.target, clients); err != nil {
		return m, err
	}
	wait, err := check(ctx, checked, of.records, s.dial)
	if err != nil {
		return m, err
	}
	if err := s.await(clients + either(checked, checkers, 0)); err != nil {
		return m, err
	}
	books := processes{servers: pids(s.Child), load: pids(fleet.Child)}
	m, err = b.during(books, func() error {
		if err := s.burst(of.records); err != nil {
			return err
		}
		_, err := fleet.Until(of.bytes)
		return err
	})
	return m, errors.Join(err, wait())
}

// pacedPeer measures a peer at a steady rate: it sends a message for each record.
func (b *bench) pacedPeer(
	ctx context.Context, p *peer, st stage, size size,
) (m measurement, err error) {
	s, err := b.startPeer(ctx, p, st)
	if err != nil {
		return m, err
	}
	return b.paced(ctx, size, underPace{
		logs: filepath.Join(st.dir, p.name), target: s.target,
		processes: processes{servers: pids(s.Child)}, dial: s.dial,
		ready:    func() error { return s.await(size.clients) },
		appended: func() error { return s.Send(peers.Command{Send: 1}) },
	})
}
