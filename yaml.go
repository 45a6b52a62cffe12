package meft

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SetFile sets the options of a YAML or JSON file. Unknown and doubled keys are
// errors with their line; all problems are reported at once.
func (c *Config) SetFile(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return c.setText(path, data)
}

// setText is SetFile on the text of a file.
func (c *Config) setText(path string, data []byte) error {
	var doc, second yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(data))
	if err := in.Decode(&doc); errors.Is(err, io.EOF) {
		return nil // nothing but comments
	} else if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := in.Decode(&second); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one document (a line --- begins another); wanted one", path)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: wanted one option a line, as in \"learning_rate: 1e-4\"", path, root.Line)
	}
	var problems []string
	options, seen := Options(), map[string]int{} // seen is the line of an option
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		text, err := scalar(value)
		o, unknown := findAmong(options, key.Value)
		switch {
		case unknown != nil:
			err = unknown
		case seen[o.Name] > 0:
			err = fmt.Errorf("%s is set on line %d already (%s and its other names count as one)", key.Value, seen[o.Name], o.Name)
		case err != nil:
			err = fmt.Errorf("%s %w", key.Value, err)
		default:
			err = c.assign(o, text)
		}
		seen[o.Name] = key.Line
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s:%d: %v", path, key.Line, err))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s", strings.Join(problems, "\n"))
	}
	return nil
}

// scalar is a value as text; lists become their items with commas between.
func scalar(n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return "", fmt.Errorf("has no value")
		}
		return n.Value, nil
	case yaml.SequenceNode:
		var items []string
		for _, item := range n.Content {
			s, err := scalar(item)
			if err != nil {
				return "", err
			}
			items = append(items, s)
		}
		return strings.Join(items, ","), nil
	case yaml.AliasNode:
		return "", fmt.Errorf("is an alias (*%s), wanted the value itself", n.Value)
	}
	return "", fmt.Errorf("is a table, wanted one value")
}

// transient options do not describe what is computed: they may differ between a
// run and its resumption.
var transient = map[string]bool{"resume": true, "chat_date": true, "overwrite_output_dir": true, "output_dir": true, "threads": true,
	"logging_steps": true, "save_total_limit": true, "device_memory": true, "host_memory": true,
	"host_store": true, "host_store_dir": true, "offload_optimizer": true, "offload_weights": true}

// YAML is the configuration with every option, in order, as a file SetFile
// reads back. Of the methods' settings only those in Settings are written.
func (c Config) YAML() []byte {
	defaults := map[string]string{}
	for _, kv := range Defaults().pairs() {
		defaults[kv[0]] = kv[1]
	}
	var b strings.Builder
	for _, kv := range c.pairs() {
		if before, ok := defaults[kv[0]]; kv[1] != "" || !ok || before != "" {
			fmt.Fprintf(&b, "%s: %s\n", kv[0], quoted(kv[1]))
		}
	}
	return []byte(b.String())
}

// quoted writes a value so that YAML reads the same text back. What Go escapes
// in a quoted string, YAML escapes alike.
func quoted(s string) string {
	if plainScalar(s) {
		return s
	}
	return strconv.Quote(s)
}

// plainScalar reports whether text needs no quotes: names, paths, numbers and
// truth values, but nothing that YAML could take for more than text.
func plainScalar(s string) bool {
	switch strings.ToLower(s) {
	case "", "null", "...":
		return false
	}
	if first := s[0]; (first == '-' || first == '+') && (len(s) == 1 || s[1] == '-') {
		return false
	}
	for i := range len(s) {
		b := s[i]
		letter := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("_./+-", b) >= 0
		if !letter && (i == 0 || b != '=' && b != ',') {
			return false
		}
	}
	return true
}

// pairs are all options and their values as text.
func (c Config) pairs() [][2]string {
	var out [][2]string
	v := reflect.ValueOf(c)
	for _, o := range Options() {
		if o.Method == "" && o.For == "" {
			text := fmt.Sprint(v.Field(o.field))
			if s, ok := v.Field(o.field).Interface().(Size); ok {
				text = fmt.Sprint(int64(s))
			}
			out = append(out, [2]string{o.Name, text})
		}
	}
	names := make([]string, 0, len(c.Settings))
	for name := range c.Settings {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		out = append(out, [2]string{name, c.Settings[name]})
	}
	return out
}

// Differences lists the options in which two configurations compute different
// things, as "name: a, here b".
func (c Config) Differences(other Config) []string {
	a, b := map[string]string{}, map[string]string{}
	for _, kv := range c.pairs() {
		a[kv[0]] = kv[1]
	}
	for _, kv := range other.pairs() {
		b[kv[0]] = kv[1]
	}
	names := map[string]bool{}
	for n := range a {
		names[n] = true
	}
	for n := range b {
		names[n] = true
	}
	var out []string
	for n := range names {
		if a[n] != b[n] && !transient[n] {
			out = append(out, fmt.Sprintf("%s: %q, here %q", n, a[n], b[n]))
		}
	}
	sort.Strings(out)
	return out
}

// configPath is where a run directory keeps its configuration.
func configPath(dir string) string { return filepath.Join(dir, "config.yaml") }
