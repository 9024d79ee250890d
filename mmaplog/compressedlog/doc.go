// Package compressedlog stores a compressed log: a second frame log that holds the frames of a
// first one, the original, in another form. Each frame stands for one frame of the original and
// names the offsets in the original between which that frame lies, its span.
//
//	original        │ f1      │ f2  │ f3        │ f4   │ f5 …
//	                1000      1900  2300        3500   4200
//	compressed log            │ t2 │ t3   │ t4 │
//	                          0    170    590  880        spans 1900–2300, 2300–3500, 3500–4200
//
// The compressed log begins somewhere in the original, has no gaps, keeps less of the past, and
// ends a little behind the original. So a reader of the original can change to the compressed log
// at every frame boundary between Start and End, and back at every boundary, without missing or
// repeating a frame. The reader's position is always an offset of the original.
//
// A compressed log is disposable. Nothing of it is synced. Its writer removes it with its
// directory, and the next compressed log has its own directory and ID. Readers that still have it
// open keep what they have mapped.
//
// The package owns the meaning of an entry's Meta (kind and span) and the search by span. It does
// not know how frames are made, which clients want them, and when a compressed log is worth its
// cost; engine/deflate does.
//
// # Concurrency and failure
//
// As in framelog, one goroutine writes, and a Reader belongs to one goroutine. Errors are
// framelog's. Each of them only means that the caller has to read the original instead.
package compressedlog
