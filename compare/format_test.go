package compare

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// The page that defines the files names every key of comparison.json.
func TestFormatPageNamesEveryKey(t *testing.T) {
	page, err := os.ReadFile("../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{Table{}, Result{}, Try{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if !strings.Contains(string(page), "`"+name+"`") {
				t.Errorf("%v: `%s` is not in docs/format.md", typ, name)
			}
		}
	}
}
