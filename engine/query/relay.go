package query

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"distributor/wsproto/shardus"
)

// mostLost is how many query processes may end during one request. After that it is refused,
// because the request may be the cause.
const mostLost = 3

// relay is a request to the query process, and its answer. It survives the end of the query
// process: the request is asked again, and an answer that is written in part is continued, if the
// new process makes the same one.
type relay struct {
	front *Front
	ctx   context.Context
	path  string
	kind  bodyKind
	text  []byte
	from  netip.Addr

	process  *process
	admitted bool           // it counts in Front.inFlight
	answer   *http.Response // nil: none
	lost     int            // query processes that ended meanwhile
	held     int64          // memory taken for the answer
	buffer   *[copyBytes]byte
	ahead    []byte // of buffer: read, not written yet
	read     int64  // bytes of the answer
}

// begin asks the query process, and gets memory for the answer and its first bytes. Up to then the
// answer can be replaced by another one.
func (r *relay) begin() error {
	r.buffer = copyBuffers.Get().(*[copyBytes]byte)
	for {
		if err := r.ask(); err != nil {
			return err
		}
		if more := r.answer.ContentLength - r.held; more > 0 {
			fits := r.front.memory.take(r.from, more)
			if !fits {
				// Else the query process would hold the answer while it waits. It is made again instead.
				r.drop()
				if !r.front.memory.wait(r.ctx, r.from, more) {
					return ErrCrowded
				}
			}
			if r.held += more; !fits {
				continue
			}
		}
		n, err := io.ReadFull(r.answer.Body, r.buffer[:])
		if err == nil || int64(n) == r.answer.ContentLength {
			r.ahead, r.read = r.buffer[:n], int64(n)
			return nil
		}
		if err := r.lose(err); err != nil {
			return err
		}
	}
}

// ask asks until a query process answers. It takes a share of Front.inFlight, which drop gives
// back.
func (r *relay) ask() error {
	for {
		if r.admitted = r.front.inFlight.wait(r.ctx, r.from, 1); !r.admitted {
			return ErrBusy
		}
		p, err := r.front.await(r.ctx, true)
		if err != nil {
			return err
		}
		r.process = p
		r.answer, err = send(r.ctx, p.client, http.MethodPost, r.path, r.kind.contentType(), r.text)
		if err == nil {
			return nil
		}
		if err := r.lose(err); err != nil {
			return err
		}
	}
}

// lose handles an error of the query process. It returns nil if the request can be asked again.
func (r *relay) lose(err error) error {
	r.drop()
	if r.ctx.Err() != nil {
		return err
	}
	r.lost++
	r.front.log.Warn("the query process did not answer a request",
		"path", r.path, "error", err, "times", r.lost)
	if r.lost > mostLost || !r.process.ends(r.ctx, endsWithin) {
		return ErrNoProcess
	}
	return nil
}

// drop drops the answer, and the share of Front.inFlight.
func (r *relay) drop() {
	if r.answer != nil {
		_ = r.answer.Body.Close()
		r.answer = nil
	}
	if r.admitted {
		r.admitted = false
		r.front.inFlight.giveBack(r.from, 1)
	}
}

// end gives back everything that the relay holds.
func (r *relay) end() {
	r.drop()
	r.front.memory.giveBack(r.from, r.held)
	if r.buffer != nil {
		copyBuffers.Put(r.buffer)
	}
}

// write writes the answer to a client, signed if it has a seal.
func (r *relay) write(w http.ResponseWriter, by *shardus.Signer) error {
	length, before, member := r.answer.ContentLength, int64(0), []byte(nil)
	if text := r.answer.Header.Get(sealHeader); text != "" {
		s, err := parseSeal(text)
		if err != nil {
			return err
		}
		member, before = s.member(by), int64(s.at)
	}
	h := w.Header()
	h.Set("Content-Type", contentJSON)
	h.Set("Content-Length", strconv.FormatInt(length+int64(len(member)), 10))
	if again := r.answer.Header.Get("Retry-After"); again != "" {
		h.Set("Retry-After", again)
	}
	w.WriteHeader(r.answer.StatusCode)
	if err := r.copy(w, before); err != nil {
		return err
	}
	if _, err := w.Write(member); err != nil {
		return err
	}
	return r.copy(w, length-before)
}

// copy writes the next n bytes of the answer.
func (r *relay) copy(w io.Writer, n int64) error {
	for n > 0 {
		if len(r.ahead) == 0 {
			if err := r.fill(); err != nil {
				return err
			}
		}
		part := r.ahead[:min(n, int64(len(r.ahead)))]
		if _, err := w.Write(part); err != nil {
			return err
		}
		r.ahead = r.ahead[len(part):]
		n -= int64(len(part))
	}
	return nil
}

// fill reads more of the answer. If the query process ends, fill continues in the same answer of
// the next one.
func (r *relay) fill() error {
	for {
		n, err := r.answer.Body.Read(r.buffer[:])
		if r.ahead, r.read = r.buffer[:n], r.read+int64(n); n > 0 {
			return nil
		}
		if err != nil {
			if err := r.resume(err); err != nil {
				return err
			}
		}
	}
}

// resume gets the answer again from the next query process, and skips the bytes that were read.
func (r *relay) resume(cause error) error {
	before := r.answer
	within, cancel := context.WithCancelCause(r.ctx)
	late := time.AfterFunc(r.front.requestTime(), func() { cancel(ErrTimeout) })
	defer late.Stop()
	r.ctx = within // ends with the request's
	for {
		if err := r.lose(cause); err != nil {
			return err
		}
		if err := r.ask(); err != nil {
			return err
		}
		if !sameAnswer(r.answer, before) {
			return fmt.Errorf("query: the next process answers something else: %w", cause)
		}
		if _, cause = io.CopyN(io.Discard, r.answer.Body, r.read); cause == nil {
			return nil
		}
	}
}

// sameAnswer compares two answers by length and by the hashes in their seals.
func sameAnswer(a, b *http.Response) bool {
	sealed := a.Header.Get(sealHeader)
	return sealed != "" && sealed == b.Header.Get(sealHeader) && a.ContentLength == b.ContentLength
}
