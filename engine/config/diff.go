package config

import (
	"fmt"
	"reflect"
)

// A Change is a key that differs between two configurations, with both values as an operator would
// write them. Secrets are not shown. For subscribers the values are their numbers, and how many
// changed.
type Change struct {
	Key, Old, New string
}

func (c Change) String() string { return fmt.Sprintf("%s: %s → %s", c.Key, c.Old, c.New) }

// Diff returns the changes from one configuration to another: those that a running process can
// apply, and those that it must refuse because they need a restart. Both are in the order of the
// table.
func Diff(from, to *Config) (applied, refused []Change) {
	for _, k := range keys {
		if k.equal(from, to) {
			continue
		}
		change := Change{k.name, k.show(from), k.show(to)}
		if k.kind() == kindList {
			change.Old, change.New = showSubscribers(from.Subscribers, to.Subscribers)
		}
		if k.reload {
			applied = append(applied, change)
		} else {
			refused = append(refused, change)
		}
	}
	return applied, refused
}

// Reloaded returns the configuration in force after a reload that has read next: the values of next
// for the keys that a reload applies, those of c for the others. It is valid if both are, because
// no rule connects keys of the two sorts.
func (c *Config) Reloaded(next *Config) *Config {
	r := *c
	for _, k := range keys {
		if k.reload {
			k.set(&r, k.get(next))
		}
	}
	return &r
}

func showSubscribers(from, to []Subscriber) (string, string) {
	before := make(map[string]Subscriber, len(from))
	for _, s := range from {
		before[s.PublicKey] = s
	}
	added, changed := 0, 0
	kept := make(map[string]bool, len(to))
	for _, s := range to {
		old, was := before[s.PublicKey]
		if kept[s.PublicKey] {
			continue
		}
		kept[s.PublicKey] = true
		if !was {
			added++
		} else if !reflect.DeepEqual(old, s) {
			changed++
		}
	}
	removed := 0
	for key := range before {
		if !kept[key] {
			removed++
		}
	}
	return fmt.Sprintf("%d subscribers", len(from)),
		fmt.Sprintf("%d subscribers (%d added, %d removed, %d changed)",
			len(to), added, removed, changed)
}
