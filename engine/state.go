package engine

import (
	"distributor/engine/config"
	"distributor/mmaplog/datalog"
)

// What a distributor has in STATE_DIR, for who looks from outside.

// FrameLogDir is the directory of the frame log.
func FrameLogDir(cfg *config.Config) string { return frameLogDir(cfg) }

// SavedPositions is how far each stream had been read when progress was last saved, at most two
// seconds before what was last sent, longer if it could not be saved. There is none before the
// first start.
func SavedPositions(cfg *config.Config) (datalog.PerStream[datalog.Position], error) {
	var positions datalog.PerStream[datalog.Position]
	saved, err := loadCheckpoint(cfg.StateDir)
	for _, s := range datalog.Streams {
		positions[s] = saved.Streams[s.String()]
	}
	return positions, err
}
