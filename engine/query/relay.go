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

// mostLost is how many query processes may end with one request before it is refused: the request
// may be why.
const mostLost = 3

// relay is a request to the query process, and its answer. Neither is lost when the query process
// ends: the request is asked again, and an answer of which a part is written goes on if the new
// process makes the same one.
type relay struct {
	front *Front
	ctx   context.Context
	path  string
	kind  bodyKind
	text  []byte
	from  netip.Addr

	process *process
	placed  bool           // it has one of Front's places
	answer  *http.Response // nil: none
	lost    int            // query processes that ended meanwhile
	held    int64          // memory taken for the answer
	buffer  *[copyBytes]byte
	ahead   []byte // of buffer: read, not written yet
	read    int64  // bytes of the answer
}

// begin asks, and gets memory for the answer and its first bytes: until then another answer can
// take its place.
func (r *relay) begin() error {
	r.buffer = copyBuffers.Get().(*[copyBytes]byte)
	for {
		if err := r.ask(); err != nil {
			return err
		}
		if more := r.answer.ContentLength - r.held; more > 0 {
			room := r.front.memory.take(r.from, more)
			if !room {
				// The query process would hold the answer meanwhile: it is made again instead.
				r.drop()
				if !r.front.memory.wait(r.ctx, r.from, more) {
					return ErrCrowded
				}
			}
			if r.held += more; !room {
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

// ask asks until a query process answers. It takes a place for that, which drop gives back.
func (r *relay) ask() error {
	for {
		if r.placed = r.front.places.wait(r.ctx, r.from, 1); !r.placed {
			return ErrBusy
		}
		p, err := r.front.await(r.ctx, true)
		if err != nil {
			return err
		}
		r.process = p
		if r.answer, err = send(r.ctx, p.client, http.MethodPost, r.path, r.kind.contentType(), r.text); err == nil {
			return nil
		}
		if err := r.lose(err); err != nil {
			return err
		}
	}
}

// lose returns nil if the request is to be asked again, after the query process did not answer it.
func (r *relay) lose(err error) error {
	r.drop()
	if r.ctx.Err() != nil {
		return err
	}
	r.lost++
	r.front.log.Warn("the query process did not answer a request", "path", r.path, "error", err, "times", r.lost)
	if r.lost > mostLost || !r.process.ends(r.ctx, endsWithin) {
		return ErrNoProcess
	}
	return nil
}

func (r *relay) drop() {
	if r.answer != nil {
		_ = r.answer.Body.Close()
		r.answer = nil
	}
	if r.placed {
		r.placed = false
		r.front.places.give(r.from, 1)
	}
}

// end gives back what the relay holds.
func (r *relay) end() {
	r.drop()
	r.front.memory.give(r.from, r.held)
	if r.buffer != nil {
		copyBuffers.Put(r.buffer)
	}
}

// write writes the answer to a client, signed where it has a seal.
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

// copy writes the answer's next n bytes.
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

// fill reads on, in the same answer of the next query process if this one ends.
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

// sameAnswer goes by the hash in the seals.
func sameAnswer(a, b *http.Response) bool {
	sealed := a.Header.Get(sealHeader)
	return sealed != "" && sealed == b.Header.Get(sealHeader) && a.ContentLength == b.ContentLength
}
