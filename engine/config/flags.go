package config

import (
	"regexp"
	"slices"
	"strings"
)

// A setting is a flag that names a key, with its value as text.
type setting struct {
	key   *key
	value string
}

type flags struct {
	config   string // --config
	settings []setting
}

// scanFlags parses the arguments, in the forms that the replaced service understands (minimist's):
// --NAME value, --NAME=value, --NAME and --no-NAME for booleans; -- ends the flags. It warns about
// what it ignores: unknown flags, with the word after them, and stray words. Only ErrHelp is
// returned; problems are reported by l.fail.
func (l *loader) scanFlags(args []string) (flags, error) {
	var f flags
	seen := map[string]bool{}
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			for _, word := range args[i+1:] {
				l.stray(word)
			}
			break
		}
		if args[i] == "--help" || args[i] == "-h" {
			return f, ErrHelp
		}
		if !strings.HasPrefix(args[i], "-") || args[i] == "-" {
			l.stray(args[i])
			continue
		}
		name, value, given := strings.Cut(strings.TrimPrefix(args[i], "--"), "=")
		next := i + 1
		k, negated := lookUpFlag(name)
		wordFollows := next < len(args) && (!strings.HasPrefix(args[next], "-") ||
			k != nil && k.kind() == kindNumber && isNegative(args[next]))
		switch {
		case k == nil && name != "config":
			l.unknownFlag(args[i])
			if !given && wordFollows {
				i++
			}
			continue
		case negated && given:
			l.wrong(k, "flag --"+name, k.name, "a value", "none")
			continue
		case negated:
			value = "false"
		case given:
		case k != nil && k.kind() == kindBoolean && !wordFollows:
			value = "true"
		case wordFollows:
			i++
			value = args[i]
		case k != nil:
			l.wrong(k, "flag --"+name, k.name, "no value", "--"+name+" VALUE or --"+name+"=VALUE")
			continue
		}
		if k == nil { // --config
			if value == "" {
				l.fail("flag --config: found no value, expected --config PATH or --config=PATH")
			}
			f.config = value
			continue
		}
		if name == k.formerly {
			l.warnFormerly(k, "flag --"+name)
		}
		if seen[k.name] {
			l.warn(k.name, "flag --%s is given more than once: the last one counts", k.name)
		}
		seen[k.name] = true
		f.settings = append(f.settings, setting{k, value})
	}
	return f, nil
}

// lookUpFlag returns the key that a flag names. negated is true for --no-NAME, which only booleans
// have.
func lookUpFlag(name string) (k *key, negated bool) {
	if k = keyByName[name]; k != nil {
		return k, false
	}
	if rest, ok := strings.CutPrefix(name, "no-"); ok {
		if k = keyByName[rest]; k != nil && k.kind() == kindBoolean {
			return k, true
		}
	}
	return nil, false
}

// isNegative tells whether s, after a number's flag, is its value and not a flag.
func isNegative(s string) bool {
	return len(s) > 1 && s[0] == '-' && strings.ContainsRune("0123456789.", rune(s[1]))
}

func (l *loader) unknownFlag(arg string) {
	arg, _, _ = strings.Cut(arg, "=")
	known := []string{"--config"}
	for _, name := range keyNames() {
		known = append(known, "--"+name)
	}
	l.warn(arg, "unknown flag %s, passed over%s",
		short(arg), didYouMean("--"+strings.TrimLeft(arg, "-"), known))
}

func (l *loader) stray(word string) {
	l.warn("", "stray word among the flags, passed over: %s", quote(word))
}

// flag applies one flag.
func (l *loader) flag(f setting) {
	k, place := f.key, "flag --"+f.key.name
	switch k.kind() {
	case kindList, kindObject:
		l.warn(k.name, "%s: no %s can be given by flag, passed over: use the file or the environment",
			place, k.kind())
		return
	case kindText:
		if k.secret() {
			l.warn(k.name,
				"%s: all users of the machine can read arguments: use the file or the environment", place)
		}
	}
	l.setText(k, place, f.value)
}

// keyMaterial matches what may be a secret key, in any argument.
var keyMaterial = regexp.MustCompile(`[0-9A-Fa-f]{128,}`)

// HideSecrets returns a command line that may be shown, without the values of secret settings. It
// also finds flags with the name in another case, with other dashes, or without effect.
func HideSecrets(args []string) []string {
	shown := slices.Clone(args)
	hide := false // the next word is the value of a secret
	for i, arg := range args {
		name, _, given := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		isSecret := slices.ContainsFunc(keys, func(k *key) bool {
			return k.secret() && strings.EqualFold(k.name, name)
		})
		switch {
		case hide:
			shown[i] = redacted
		case isSecret && given:
			shown[i] = arg[:strings.Index(arg, "=")+1] + redacted
		default:
			shown[i] = keyMaterial.ReplaceAllLiteralString(arg, redacted)
		}
		hide = isSecret && !given
	}
	return shown
}
