// Package config determines the settings from defaults, file, environment and flags.
//
// # What the package owns
//
// The table of all keys (keys.go): name, type, default, unit, range, whether a reload applies it,
// and its help. Parsing, validation, the environment, the flags, the help text and the tables of
// docs/CONFIGURATION.md all come from that one table. Later layers win:
//
//	defaults < file < environment < flags
//
// The file is JSON with // and /* */ comments and trailing commas. It is distributor-config.json in
// the working directory, or the file that --config names. Objects in it are merged with the
// defaults, lists replace them. Relative paths, that of the file and those in it, are relative to
// the working directory, not to the file.
//
// # Compatibility
//
// Every file, environment and command line that the replaced service accepts sensibly has the same
// result here. Numbers may be given as text. An empty variable is not set. A boolean variable is
// true only if it is "true" in any case. Unknown flags and stray words are ignored (here with a
// Warning). In some cases the replaced service went on with something that the operator did not
// say: a broken file, an invalid number, --no-x, a secret key that belongs to another public key.
// In these cases this package returns an error, or does what was said. conform_test.go holds the
// recorded cases.
//
// A key that was renamed is also read under its former name, with a Warning that names the new one.
// If one layer has both, the new name counts.
//
// # What the package does not do
//
// It reads one file and does nothing else: no watching, no signals, no cryptography except the
// check that the halves of the secret key belong together, no check that a directory exists or a
// port is free.
//
// # Concurrency
//
// All functions may be called from any goroutine. A *Config is never changed after Load returned
// it, so it may be shared.
//
// # Errors
//
// Load reports all problems that it finds, joined, one line each, and no Config. A problem names
// its place (file:line:column, the variable or the flag), the key, what was found and what is
// expected. Values of keys that hold secrets appear in no error, warning or print. Columns count
// characters.
//
// # Reload
//
// A reload is Load with the same Source. The file is read again, so a key that was removed returns
// to its default. Diff tells which changes a running process can apply. Config.Reloaded returns the
// configuration that is then in force.
package config
