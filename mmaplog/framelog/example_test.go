package framelog_test

import (
	"fmt"
	"log/slog"
	"os"

	"distributor/mmaplog/framelog"
)

// A writer commits frames. A reader, in this process or another, reads them from an offset on.
func Example() {
	dir, err := os.MkdirTemp("", "framelog")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	writer, _, err := framelog.OpenWriter(framelog.Options{
		Dir: dir, SegmentBytes: 64 << 10, RetainBytes: 64 << 10,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	defer writer.Close()
	reader, err := framelog.OpenReader(dir)
	if err != nil {
		panic(err)
	}
	defer reader.Close()

	for _, frame := range []string{"one ", "two ", "three"} {
		if err := writer.Append([]byte(frame), framelog.Meta{Cycle: -1}); err != nil {
			panic(err)
		}
	}
	fmt.Println("before the commit:", reader.Head())
	if err := writer.Commit(); err != nil {
		panic(err)
	}
	frames, err := reader.Frames(4, 1<<20) // behind the first
	fmt.Printf("after it: %d, %q, %v\n", reader.Head(), frames, err)
	// Output:
	// before the commit: 0
	// after it: 13, "two three", <nil>
}
