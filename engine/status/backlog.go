package status

import "time"

// backlog measures for how long a stream has been behind: how long ago the oldest unread byte was
// first seen. A stream that is written all the time is not behind as long as everything that was
// there a second ago is read.
type backlog struct{ seen []sighting }

// sighting records how far the data logs reached at a time. end is the number of bytes that had
// passed and that were waiting.
type sighting struct {
	at  time.Time
	end int64
}

// maxSightings limits a backlog to an hour and a half at one sighting a second. Beyond that every
// other sighting is forgotten, and the age of the bytes behind a forgotten sighting is too short by
// up to the distance of two sightings.
const maxSightings = 1 << 12

// age returns for how long the stream has been behind. passed is a counter of the bytes that have
// passed; waiting is the number of unread bytes. Bytes that are skipped without being counted
// (blank lines, trailers) make the age too large until the stream is caught up.
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
