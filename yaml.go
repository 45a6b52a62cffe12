package meft

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
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
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: wanted one option a line, as in \"learning_rate: 1e-4\"", path, root.Line)
	}
	var problems []string
	seen := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		text, err := scalar(value)
		if err == nil {
			if line := seen[Canonical(key.Value)]; line > 0 {
				err = fmt.Errorf("%s is set on line %d too", key.Value, line)
			} else {
				err = c.Set(key.Value, text)
			}
		}
		seen[Canonical(key.Value)] = key.Line
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
	}
	return "", fmt.Errorf("is a table, wanted one value")
}

// transient options do not describe what is computed: they may differ between a
// run and its resumption.
var transient = map[string]bool{"resume": true, "chat_date": true, "overwrite_output_dir": true, "output_dir": true, "threads": true,
	"logging_steps": true, "save_total_limit": true, "device_memory": true, "host_memory": true}

// YAML is the configuration with every option, in order, as a file SetFile
// reads back. Of the methods' settings only those in Settings are written.
func (c Config) YAML() []byte {
	var b strings.Builder
	for _, kv := range c.pairs() {
		if kv[1] != "" {
			fmt.Fprintf(&b, "%s: %s\n", kv[0], quoted(kv[1]))
		}
	}
	return []byte(b.String())
}

// quoted writes a value so that YAML reads the same text back.
func quoted(s string) string {
	out, err := yaml.Marshal(s)
	if err != nil {
		panic(err)
	}
	if text := strings.TrimSpace(string(out)); strings.HasPrefix(text, `"`) && plainScalar(s) {
		return s // a number or truth value needs no quotes
	} else {
		return text
	}
}

func plainScalar(s string) bool { return !strings.ContainsAny(s, " \t\n:#'\"\\{}[],&*!|>%@`") }

// pairs are all options and their values as text.
func (c Config) pairs() [][2]string {
	var out [][2]string
	v := reflect.ValueOf(c)
	for _, o := range Options() {
		if o.Method == "" {
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
