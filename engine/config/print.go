package config

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// WriteHelp writes the settings for --help.
func WriteHelp(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, `Settings: defaults < file < environment < flags. Names are the same everywhere.
Flags: --NAME VALUE, --NAME=VALUE, and --NAME or --no-NAME for a boolean.
Exit status: 0 stopped as asked; 1 something failed, the last line of the log says what; 2 crashed;
78 the configuration or command line cannot be used.

  --config PATH
        JSON file, comments and trailing commas allowed. Default: %s in the
        working directory; may be missing. Relative paths are relative to the working directory.
`, DefaultFile)
	defaults := Default()
	for _, k := range keys {
		switch kind := k.kind(); kind {
		case kindBoolean:
			fmt.Fprintf(b, "  --%s\n", k.name)
		case kindList, kindObject:
			fmt.Fprintf(b, "  %s (%s; in the file, or as JSON in the environment)\n", k.name, kind)
		default:
			fmt.Fprintf(b, "  --%s %s\n", k.name, strings.ToUpper(kind))
		}
		value := k.showDefault(defaults)
		if value == "" {
			value = "empty"
		}
		fmt.Fprintf(b, "        %s\n        Default: %s.", k.help(), value)
		if allowed := strings.TrimSpace(k.allowed() + " " + k.unitName()); allowed != "" {
			fmt.Fprintf(b, " Allowed: %s.", allowed)
		}
		if k.reload {
			fmt.Fprint(b, " A reload applies it.")
		}
		fmt.Fprintln(b)
	}
	return b.Flush()
}

// WriteMarkdown writes the tables of docs/CONFIGURATION.md, one for each group of settings.
func WriteMarkdown(w io.Writer) error {
	b := bufio.NewWriter(w)
	defaults := Default()
	for i, k := range keys {
		if k.heading != "" {
			if i > 0 {
				fmt.Fprintln(b)
			}
			fmt.Fprintf(b, "### %s\n", k.heading)
			fmt.Fprintln(b, "| key | type | default | unit | allowed | reload | what it does |")
			fmt.Fprintln(b, "| --- | --- | --- | --- | --- | --- | --- |")
		}
		reload := "restart"
		if k.reload {
			reload = "yes"
		}
		value := k.showDefault(defaults)
		if value != "" && !k.secret() {
			value = "`" + value + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s | %s | %s |\n",
			k.name, k.kind(), value, k.unitName(), k.allowed(), reload, k.help())
	}
	return b.Flush()
}

// help returns what the setting does, with its former name.
func (k *key) help() string {
	if k.formerly == "" {
		return k.doc
	}
	return k.doc + " Formerly " + k.formerly + ", which still works."
}

// allowed returns the range of a number, or the form of a text; "" if everything is allowed.
func (k *key) allowed() string {
	switch k.kind() {
	case kindNumber:
		return fmt.Sprintf("%d to %d", k.min, k.max)
	case kindText:
		if w := k.rule.want; w != anyText.want && w != notEmpty.want {
			return w
		}
	}
	return ""
}

// showDefault returns the default value, but does not show that of the secret key: nobody should
// copy it.
func (k *key) showDefault(defaults *Config) string {
	if k.secret() {
		return "the public sample"
	}
	return k.show(defaults)
}
