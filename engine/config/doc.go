// Package config finds out which settings are in force.
//
// # What it owns
//
// The table of all keys (keys.go): name, type, default, unit, range, whether a reload applies it,
// and its help. Parsing, validation, the environment, the flags, the help text and the tables of
// docs/CONFIGURATION.md all come from that one table. Later layers win:
//
//	defaults < file < environment < flags
//
// The file is JSON with // and /* */ comments and trailing commas. It is distributor-config.json in the working
// directory, or what --config names. Objects in it are merged with the defaults, lists replace them. Relative paths,
// that of the file and those in it, are relative to the working directory, not to the file.
//
// # Compatibility
//
// Every file, environment and command line that the replaced service accepts sensibly loads with the same outcome:
// numbers may be given as text, an empty variable is not set, a boolean variable is true only if it says "true" in any
// case, unknown flags and stray words are passed over (here with a Warning). Where the replaced service went on with
// something that the operator did not say (a broken file, a number that is none, --no-x, a secret key that belongs to
// another public key), this package stops with an error or does what was said. conform_test.go holds the recorded cases.
//
// A key that was renamed is read under its former name too, with a Warning that names the new one.
// If one layer has both, the new name counts.
//
// # What it does not do
//
// It reads one file and does nothing else: no watching, no signals, no cryptography (hex digits are counted, keys are
// not used), no check that a directory exists or a port is free.
//
// # Who may call it
//
// All functions may be called from any goroutine. A *Config is never changed after Load returned it, so it may be
// shared; who needs another takes a copy.
//
// # When it fails
//
// Load reports all problems it finds, joined, one line each, and no Config. A problem names where it stands
// (file:line:column, the variable or the flag), the key, what was found and what is expected. Values of keys that hold
// secrets appear in no error, warning or print. Columns count characters.
//
// # Reload
//
// A reload is Load with the same Source: the file is read afresh, so a key that was removed returns to its default.
// Diff tells which changes a running process can apply; Config.Reloaded is the configuration then in force.
package config
