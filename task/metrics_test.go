package task

import (
	"bytes"
	"encoding/json"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

// TestSquadScoresAreTheOfficialOnes compares with scores made by SQuAD's
// evaluation program. 1e-9 of a percent is rounding of a sum of 10,069 items in
// another order.
func TestSquadScoresAreTheOfficialOnes(t *testing.T) {
	dir := shared(t, "squad")
	var want map[string]struct {
		EM      float64 `json:"exact_match"`
		F1      float64
		Total   int
		Missing int
	}
	if err := json.Unmarshal([]byte(readAll(t, filepath.Join(dir, "predictions", "expected_scores.json"))), &want); err != nil || len(want) == 0 {
		t.Fatal(err)
	}
	for name, w := range want {
		p, err := ReadPredictions(filepath.Join(dir, "predictions", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := Score(Examples(filepath.Join(dir, "dev-v1.1.json"), ReadOptions{}), p)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(100*s.Exact.Value-w.EM) > 1e-9 || math.Abs(100*s.F1.Value-w.F1) > 1e-9 || s.N != w.Total || s.Missing != w.Missing || s.Unused != 0 {
			t.Errorf("%s: %+v, want %+v", name, s, w)
		}
		if pq := s.Exact.Value * (1 - s.Exact.Value); math.Abs(s.Exact.StdErr-math.Sqrt(pq/float64(s.N-1))) > 1e-12 {
			t.Errorf("%s: standard error %v", name, s.Exact.StdErr)
		}
	}
}

func TestSquadItemsScoreExactly(t *testing.T) {
	text := readAll(t, shared(t, "squad/predictions/item_scores.jsonl"))
	n := 0
	for line := range strings.Lines(text) {
		var item struct {
			ID, Prediction string
			Truths         []string `json:"ground_truths"`
			EM             float64  `json:"exact_match"`
			F1             float64
		}
		if err := json.Unmarshal([]byte(line), &item); err != nil {
			t.Fatal(err)
		}
		got := Mark(item.Prediction, item.Truths)
		if got.Exact != item.EM || got.F1 != item.F1 {
			t.Errorf("%s: %q for %q: %v, want %v and %v", item.ID, item.Prediction, item.Truths, got, item.EM, item.F1)
		}
		n++
	}
	if n != 400 {
		t.Errorf("%d items", n)
	}
}

func TestNormalizeIsPythons(t *testing.T) {
	// Right sides by SQuAD's evaluate-v1.1.py under Python 3.
	for in, want := range map[string]string{
		"The  Cat, a dog!":     "cat dog",
		"an (apple)":           "apple",
		"theatre a-the":        "theatre athe",
		"A–the–an":             "– –",
		"l’a the":              "l’",
		"under_the_score":      "underthescore",
		"ΟΔΟΣ ΣΑΣ.":            "οδος σας",
		"İstanbul":             "i̇stanbul",
		"x\x1cy\u00a0z\u3000w": "x y z w",
		"a\u0301 b":            "\u0301 b",
		"the²":                 "the²",
		"$1,000.50":            "100050",
		"":                     "",
		" the ":                "",
	} {
		if got := Normalize(in); got != want {
			t.Errorf("Normalize(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMetricsDiffer(t *testing.T) {
	for _, c := range []struct {
		answer string
		refs   []string
		want   ItemScore
	}{
		{" Paris\n", []string{"Rome", "Paris"}, ItemScore{1, 1, 1, 1, 1}},
		{"the paris.", []string{"Paris"}, ItemScore{1, 1, 0, 0, 1}},
		{"It is Paris, France", []string{"Paris"}, ItemScore{0, 0.4, 0, 1, 1}},
		{"", []string{"Paris"}, ItemScore{}},
		{"", []string{""}, ItemScore{1, 0, 1, 0, 0}},
		{"Paris", []string{" "}, ItemScore{}},
		{"Paris", nil, ItemScore{}},
		{"a b b", []string{"b b b c"}, ItemScore{0, 2 * (2. / 2) * (2. / 4) / (2./2 + 2./4), 0, 0, 0}},
	} {
		if got := Mark(c.answer, c.refs); got != c.want {
			t.Errorf("%q for %q: %v, want %v", c.answer, c.refs, got, c.want)
		}
	}
}

func TestPredictionsInBothForms(t *testing.T) {
	for name, text := range map[string]string{
		"a.json":     `{"q1": "x", "q2": "é"}`,
		"rows.jsonl": `{"id":"q1","prediction":"x","other":1}` + "\n" + `{"id":"q2","prediction":"\u00e9"}`,
		"rows.json":  `[{"id":"q1","prediction":"x"},{"id":"q2","prediction":"é"}]`,
		"lines.json": `{"id":"q1","prediction":"x"}` + "\n" + `{"id":"q2","prediction":"é"}`,
		"rows.csv":   "id,prediction\nq1,x\nq2,é\n",
	} {
		p, err := ReadPredictions(put(t, name, text))
		if err != nil || len(p) != 2 || p["q1"] != "x" || p["q2"] != "é" {
			t.Errorf("%s: %v %v", name, p, err)
		}
	}
	for text, want := range map[string]string{
		`{"q1": "x", "q1": "y"}`: `id "q1" was predicted before`,
		`{"q1": 7}`:              `id "q1" is a number (7)`,
		`{"q1": "x"`:             "ends inside",
		`{"q1": "x"} {}`:         "more text",
		`{}`:                     "no rows",
		`[{"id":"a"}]`:           "the row has id",
	} {
		if _, err := ReadPredictions(put(t, "a.json", text)); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "a.json") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestScoreMatchesByID(t *testing.T) {
	path := put(t, "a.jsonl", `{"question":"a?","answer":["x","y"]}`+"\n"+`{"question":"b?","answer":"z","id":"B"}`+"\n"+`{"question":"c?","answer":"z","id":9}`)
	s, err := Score(Examples(path, ReadOptions{}), map[string]string{"1": "y", "B": "no", "old": "z"})
	if err != nil {
		t.Fatal(err)
	}
	if s.N != 3 || s.Missing != 1 || s.Unused != 1 || math.Abs(s.Exact.Value-1./3) > 1e-15 || math.Abs(s.Exact.StdErr-1./3) > 1e-15 {
		t.Errorf("%+v", s)
	}
	if _, err := Score(Examples(path, ReadOptions{}), map[string]string{"other": "y"}); err == nil {
		t.Error("predictions for other data are no error")
	}
	twice := put(t, "b.jsonl", `{"question":"a?","answer":"x","id":"i"}`+"\n"+`{"question":"b?","answer":"x","id":"i"}`)
	if _, err := Score(Examples(twice, ReadOptions{}), map[string]string{"i": "y"}); err == nil || !strings.Contains(err.Error(), "b.jsonl:2") {
		t.Errorf("repeated id: %v", err)
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(s); err != nil || !strings.Contains(b.String(), `"exact_match":{"value":0.333`) {
		t.Errorf("%s %v", b.String(), err)
	}
}
