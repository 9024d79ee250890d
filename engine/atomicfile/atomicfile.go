// Package atomicfile replaces small files as a whole. A reader sees the old content or the new one,
// never a part, even while the file is replaced and after a crash of the process or of the machine.
//
// # Order of a Write
//
//	create <path>.new    always the same name: a killed process leaves one file at most
//	write                all of the content
//	sync the file        otherwise a crash of the machine may leave the name without content
//	rename               readers see the new content from here on
//	sync the directory   otherwise the old content may return after a crash of the machine
//
// There is a crash point between every two steps. A step that fails (no room, read-only, an I/O
// error) ends the Write. Before the rename, the old content stays and the new file is removed.
// After the rename, the new content is in place but may not be on disk. The same call works again
// as soon as the file system does. Package os repeats calls that a signal interrupts (EINTR).
//
// The package does not lock: the caller makes sure that a file has one writer at a time. The
// package neither knows nor reads the content of a file.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"distributor/mmaplog/crashpoint"
)

// File is a file that is replaced as a whole.
type File struct {
	Path string
	// Points is the first of the four crash points of this file: created, written, synced, named.
	Points crashpoint.Point

	fault func(step, path string) error // tests only
}

// Crash points of a File, counted from Points.
const (
	created crashpoint.Point = iota
	written
	synced
	named
)

// ownerOnly is the mode of a file that did not exist before.
const ownerOnly fs.FileMode = 0o600

// Write replaces the content. It keeps the permissions of an existing file.
func (f File) Write(content []byte) error {
	temp, err := f.prepare(content)
	if err == nil {
		err = f.do("rename", f.Path, func() error { return os.Rename(temp, f.Path) })
		if err != nil {
			_ = os.Remove(temp)
		}
	}
	if err != nil {
		return err
	}
	crashpoint.Pass(f.Points + named)
	return f.syncDir()
}

// prepare writes the content to the temporary file and syncs it.
func (f File) prepare(content []byte) (temp string, err error) {
	mode := ownerOnly
	switch old, err := os.Lstat(f.Path); {
	case err == nil && old.Mode().IsRegular():
		mode = old.Mode().Perm()
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	temp = f.temp()
	var file *os.File
	err = f.do("create", temp, func() (err error) {
		const flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC | syscall.O_NOFOLLOW
		file, err = os.OpenFile(temp, flags, ownerOnly)
		return err
	})
	if err != nil {
		return "", err
	}
	err = f.fill(file, content, mode)
	if err = errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(temp)
	}
	return temp, err
}

func (f File) fill(file *os.File, content []byte, mode fs.FileMode) error {
	crashpoint.Pass(f.Points + created)
	info, err := file.Stat()
	if err == nil && info.Mode().Perm() != mode {
		err = f.do("chmod", file.Name(), func() error { return file.Chmod(mode) })
	}
	if err != nil {
		return err
	}
	err = f.do("write", file.Name(), func() error { _, err := file.Write(content); return err })
	if err != nil {
		return err
	}
	crashpoint.Pass(f.Points + written)
	if err := f.do("sync", file.Name(), file.Sync); err != nil {
		return err
	}
	crashpoint.Pass(f.Points + synced)
	return nil
}

func (f File) syncDir() error {
	dir, err := os.Open(filepath.Dir(f.Path))
	if err != nil {
		return fmt.Errorf("sync the directory of %s: %w", f.Path, err)
	}
	defer dir.Close()
	return f.do("sync", dir.Name(), dir.Sync)
}

// Clear removes the temporary file of a killed process. Only the file's writer may call it.
func (f File) Clear() error {
	err := f.do("remove", f.temp(), func() error { return os.Remove(f.temp()) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (f File) temp() string { return f.Path + ".new" }

// do runs a step. A test can make the step fail.
func (f File) do(step, path string, run func() error) error {
	if f.fault != nil {
		if err := f.fault(step, path); err != nil {
			return &fs.PathError{Op: step, Path: path, Err: err}
		}
	}
	return run()
}
