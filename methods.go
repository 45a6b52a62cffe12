package meft

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strings"

	"meft/method"
)

// newMethod makes the method of that name with its defaults and the given
// settings, which may only be its own. All problems are in one error.
func newMethod(name string, settings map[string]string) (method.Method, error) {
	m, ok := method.All()[name]
	if !ok {
		var known []string
		for n := range method.All() {
			known = append(known, n)
		}
		sort.Strings(known)
		return nil, fmt.Errorf("unknown method %q; known: %s", name, strings.Join(known, ", "))
	}
	v := reflect.ValueOf(m)
	if v.Kind() != reflect.Pointer { // All holds values: settings go into a copy
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		v = p
	}
	var problems []string
	for key, text := range settings {
		o, err := findOption(key)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		f, own := settingField(v.Elem(), o.Name)
		if !own {
			problems = append(problems, fmt.Sprintf("%s is a setting of method %s; this run uses %s", o.Name, o.Method, name))
		} else if err := parseInto(f, text); err != nil {
			problems = append(problems, fmt.Sprintf("%s is %q, wanted %v", key, text, err))
		}
	}
	if len(problems) > 0 {
		sort.Strings(problems)
		return nil, fmt.Errorf("%s", strings.Join(problems, "; "))
	}
	if made, ok := v.Interface().(method.Method); ok {
		return made, nil
	}
	return v.Elem().Interface().(method.Method), nil
}

// settingField finds the field with that JSON name.
func settingField(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.IsExported() && strings.Split(f.Tag.Get("json"), ",")[0] == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// settingsOf are a method's settings under their names.
func settingsOf(m method.Method) (map[string]any, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	return out, json.Unmarshal(data, &out)
}
