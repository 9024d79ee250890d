package status

import "time"

// backlog tells for how long a stream has been behind: how long ago the oldest
// of the bytes that are not read yet was first seen to be there. A stream that
// never rests is not behind as long as all that was there a second ago is read.
type backlog struct{ seen []sighting }

// sighting: the data logs reached so far at that time. Ends are bytes that had
// passed and bytes that were waiting.
type sighting struct {
	at  time.Time
	end int64
}

// maxSightings bounds a backlog, to an hour and a half at one a second. Beyond
// that every other one is forgotten, and the ages of what is behind the
// forgotten ones are up to a sighting short.
const maxSightings = 1 << 12

// age is called with the bytes that have passed, as a counter, and those that
// wait. What is passed over without being counted (blank lines, trailers) makes
// the age too large, until the stream is caught up with.
func (b *backlog) age(now time.Time, passed, waiting int64) time.Duration {
	if waiting <= 0 {
		b.seen = b.seen[:0]
		return 0
	}
	read := 0
	for read < len(b.seen) && b.seen[read].end <= passed {
		read++
	}
	b.seen = b.seen[read:]
	if n := len(b.seen); n == 0 || b.seen[n-1].end < passed+waiting {
		b.seen = append(b.seen, sighting{now, passed + waiting})
	}
	if len(b.seen) > maxSightings {
		for i := range len(b.seen) / 2 {
			b.seen[i] = b.seen[2*i]
		}
		b.seen = b.seen[:len(b.seen)/2]
	}
	return now.Sub(b.seen[0].at)
}
