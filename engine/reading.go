package engine

import (
	"context"
	"sync"

	"distributor/engine/deflate"
)

// startReading starts the encoder, the saving of its progress, and, for as long as its frames have
// to be sent, the compressor. It calls fail if the encoder fails for good.
//
// stop returns when what was read is in the frame log: the head is final. stopCompressing returns
// when there is no compressed log: all collectors go on with plain frames. Both may be called
// again.
func startReading(
	l *logs, s *saver, c *deflate.Compressor, fail func(error),
) (stop, stopCompressing func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := s.encoder.Run(ctx, l.source); err != nil {
			fail(err)
		}
	})
	parts.Go(func() { s.run(ctx, l) })
	compressing, cancelCompressing := context.WithCancel(context.Background())
	var compressor sync.WaitGroup
	compressor.Go(func() { c.Run(compressing) })
	return func() {
			cancel()
			parts.Wait()
		}, func() {
			cancelCompressing()
			compressor.Wait()
		}
}
