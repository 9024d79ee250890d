package config

import "strings"

// env applies the environment. An empty variable counts as not set. Variables that are not keys are
// ignored without a warning, because they belong to other programs.
func (l *loader) env(environ []string) {
	vars := make(map[string]string, len(environ))
	for _, v := range environ {
		if name, value, ok := strings.Cut(v, "="); ok {
			vars[name] = value
		}
	}
	for _, k := range keys {
		name := k.name
		for _, other := range []string{k.alias, k.formerly} {
			if vars[name] == "" {
				name = other
			}
		}
		value := vars[name]
		if name == "" || value == "" {
			continue
		}
		place := "environment variable " + name
		if name == k.formerly {
			l.warnFormerly(k, place)
		}
		switch k.kind() {
		case kindBoolean:
			// Only true is true. A warning follows, because whoever wrote 1 or yes may have meant true.
			is := strings.EqualFold(value, "true")
			if !is && !strings.EqualFold(value, "false") {
				l.warn(k.name, "%s: %s counts as false: only true is true", place, quote(value))
			}
			k.set(l.cfg, is)
			l.origin[k.name] = place
		case kindList, kindObject:
			// It replaces what the file has, it is not merged.
			k.set(l.cfg, k.def)
			l.jsonText(k, place, value)
		default:
			l.setText(k, place, value)
		}
	}
}
