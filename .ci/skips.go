//go:build ignore

// Command skips reads the output of "go test -json" on standard input, prints
// what failed and the line of each package, and exits 1 if a test was skipped
// for a reason that does not lie in the machine. Reasons that do are given as
// one regular expression.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
)

type event struct{ Action, Package, Test, Output string }

func main() {
	allowed := regexp.MustCompile(os.Args[1])
	output := map[string]string{}
	bad, skipped, passed := 0, 0, 0
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text()) // a build failure
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			output[key] += e.Output
			if e.Test == "" && (strings.HasPrefix(e.Output, "ok") || strings.HasPrefix(e.Output, "FAIL")) {
				fmt.Print(e.Output)
			}
		case "pass":
			if e.Test != "" {
				passed++
			}
			delete(output, key)
		case "fail":
			fmt.Printf("--- %s\n%s", key, output[key])
		case "skip":
			if e.Test == "" {
				continue // a package without tests
			}
			skipped++
			if !allowed.MatchString(output[key]) {
				bad++
				fmt.Printf("skipped, though it could have run: %s\n%s", key, output[key])
			}
		}
	}
	fmt.Printf("%d passed, %d skipped for the machine's sake\n", passed, skipped-bad)
	if bad > 0 {
		os.Exit(1)
	}
}
