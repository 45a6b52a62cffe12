package meft

import (
	"strings"
	"testing"
)

// refused wants an error with all the words in it.
func refused(t *testing.T, c Config, words ...string) {
	t.Helper()
	_, err := Train(t.Context(), c, nil)
	if err == nil {
		t.Fatalf("the run was not refused; wanted an error with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error lacks %q: %v", w, err)
		}
	}
}
