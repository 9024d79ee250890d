// Package twin is a second frame log that holds the frames of a first one in another form, frame for frame: each of its
// frames names the offsets in the first log, the original, between which the frame lies that it stands for.
//
//	original   │ f1      │ f2  │ f3        │ f4   │ f5 …
//	           1000      1900  2300        3500   4200
//	twin                 │ t2 │ t3   │ t4 │
//	                     0    170    590  880        spans 1900–2300, 2300–3500, 3500–4200
//
// It begins somewhere, has no gaps, keeps less of the past, and ends a little behind the original. So a reader of the
// original can go over to the twin at every frame boundary between Start and End, and back at every boundary, without
// missing or repeating anything; its place is always an offset of the original.
//
// A twin is disposable. Nothing of it is synced, its writer throws it away with its directory, and the next one has a
// directory and an ID of its own. Readers that still have it open keep what they have mapped.
//
// It owns what an entry's Meta says (kind and span) and the search by it. It does not know how frames are made, who
// wants them, and when a twin is worth its while (engine/deflate does).
//
// # Concurrency and failure
//
// As for framelog: one goroutine writes; a Reader belongs to one goroutine. Errors are framelog's. Every one of them
// means only that the original has to be read instead.
package twin
