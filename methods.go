package meft

import (
	"fmt"
	"reflect"
	"sort"
	"strings"

	"meft/method"
)

// newMethod makes the method of that name with its defaults and the given
// settings, which may only be its own. All problems are in one error.
func newMethod(name string, settings map[string]string) (method.Method, error) {
	m, err := method.Decode(name, nil)
	if err != nil {
		return nil, err
	}
	v := reflect.ValueOf(m)
	var problems []string
	for key, text := range settings {
		o, err := findOption(key)
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		f, own := settingField(v.Elem(), o.Name)
		for _, of := range o.of {
			if field, there := settingField(v.Elem(), of); there {
				f, own = field, true
				if other, twice := settings[of]; twice && other != text {
					problems = append(problems, fmt.Sprintf("%s is %q and %s is %q; leave one out", o.Name, text, of, other))
				}
			}
		}
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
	return m, nil
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
