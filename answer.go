package meft

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"meft/model"
	"meft/task"
	"meft/train"
)

// answer asks the model and marks what it says.
func (s *Session) answer(ctx context.Context, enc *task.Encoder, examples []task.Example, o EvalOptions, r *EvalResult, progress func(done, total int)) (err error) {
	asked, err := questions(enc, examples, 0)
	if err != nil {
		return err
	}
	m, err := newMarking(o, len(asked))
	if err != nil {
		return err
	}
	d := o.decoding(m.protocol)
	if d.Stops == nil {
		d.Stops = stops(s.tok, s.base.config)
	}
	out, had, err := openPredictions(o, s.evaluation(o, d), asked)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	var prompts [][]int32
	var left []int // the questions that prompts are of
	for i, q := range asked {
		if text, ok := had[q.ID]; ok {
			m.mark(i, text, q.Answers)
			continue
		}
		prompts, left = append(prompts, q.Prompt), append(left, i)
	}
	done := len(asked) - len(left)
	if len(left) > 0 {
		err = s.Generate(ctx, prompts, d, func(i int, c model.Continuation) error {
			q := asked[left[i]]
			text := s.tok.Decode(c.IDs, true)
			if m.protocol.Stops {
				text = task.Cut(strings.TrimLeft(text, " \n"), m.task.Stops)
			}
			text = strings.TrimSpace(text)
			marks := m.mark(left[i], text, q.Answers)
			if done++; progress != nil {
				progress(done, len(asked))
			}
			return out.write(q, text, c.Reason, marks)
		})
		if err != nil {
			return err
		}
	}
	m.report(r)
	return nil
}

// decoding is how answers are made: as the options say, and as the protocol says
// where they say nothing.
func (o EvalOptions) decoding(p task.Protocol) model.Decoding {
	d := o.Decoding
	d.MaxNew = cmp.Or(d.MaxNew, p.MaxNew)
	d.Beams = cmp.Or(d.Beams, p.Beams)
	d.RepetitionPenalty = cmp.Or(d.RepetitionPenalty, p.Penalty)
	return d
}

// marking marks the answers of questions of any kind, or of a task.
type marking struct {
	task     *task.Task // nil for any kind
	protocol task.Protocol
	items    []task.ItemScore
	answers  []marked
}

// marked is an answer with what it is compared with.
type marked struct {
	text       string
	references []string
}

func newMarking(o EvalOptions, n int) (*marking, error) {
	t, p, err := o.benchmark()
	return &marking{task: t, protocol: p, items: make([]task.ItemScore, n), answers: make([]marked, n)}, err
}

// mark marks answer i and returns its marks for people.
func (m *marking) mark(i int, text string, references []string) any {
	m.answers[i] = marked{text, references}
	if m.task == nil {
		m.items[i] = task.Mark(text, references)
		return m.items[i]
	}
	named := map[string]float64{}
	for j, v := range m.task.Mark(text, references) {
		named[m.task.Marks[j].FullName()] = v
	}
	return named
}

// report adds the averages, taken in the order of the questions.
func (m *marking) report(r *EvalResult) {
	if m.task == nil {
		var t task.Tally
		for _, s := range m.items {
			t.Add(s)
		}
		r.addScores(t.Scores())
		return
	}
	all := task.NewMarks(*m.task)
	for _, a := range m.answers {
		all.Add(a.text, a.references)
	}
	r.addMarks(all)
}

// evaluation says what answers depend on, for a file of predictions that is to
// be gone on with.
func (s *Session) evaluation(o EvalOptions, d model.Decoding) map[string]string {
	d.Stops, d.Batch = nil, 0 // of the model; of no effect
	how, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("meft: decoding: %v", err))
	}
	return map[string]string{"model": s.base.name, "adapter": s.adapter, "base_dtype": fmt.Sprint(s.base.frozen), "task": o.Task, "variant": o.Variant,
		"protocol": o.Protocol, "prompt_template": o.PromptTemplate, "decoding": string(how)}
}

// predictionFile writes one line an answer as it comes. A second file beside it,
// with .how at the end of its name, says what the answers depend on while the
// evaluation is not complete.
type predictionFile struct {
	file *os.File
	w    *bufio.Writer
	how  string // path of the second file
	left int    // questions without an answer
}

// openPredictions opens the file of an evaluation and returns the answers, by id,
// that an interrupted one left there.
func openPredictions(o EvalOptions, how map[string]string, asked []train.Question) (*predictionFile, map[string]string, error) {
	if o.Output == "" {
		return &predictionFile{}, nil, nil
	}
	p := &predictionFile{how: o.Output + ".how", left: len(asked)}
	var had map[string]string
	if o.Resume {
		var err error
		if had, err = p.earlier(o.Output, how, asked); err != nil {
			return nil, nil, err
		}
	}
	if had == nil {
		if err := writeJSON(p.how, how); err != nil {
			return nil, nil, err
		}
	}
	mode := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if had == nil {
		mode |= os.O_TRUNC
	}
	f, err := os.OpenFile(o.Output, mode, 0o644)
	if err != nil {
		return nil, nil, err
	}
	p.file, p.w = f, bufio.NewWriter(f)
	p.left -= len(had)
	return p, had, nil
}

// earlier reads the answers of an interrupted evaluation, nil for none. A line
// that was cut off in the middle is taken away.
func (p *predictionFile) earlier(path string, how map[string]string, asked []train.Question) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := p.same(path, how); err != nil {
		return nil, err
	}
	if end := bytes.LastIndexByte(data, '\n') + 1; end < len(data) {
		data = data[:end]
		if err := os.Truncate(path, int64(end)); err != nil {
			return nil, err
		}
	}
	references := map[string][]string{}
	for _, q := range asked {
		references[q.ID] = q.Answers
	}
	had := map[string]string{}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		var x struct {
			ID         string   `json:"id"`
			Prediction string   `json:"prediction"`
			Answers    []string `json:"answers"`
		}
		if err := json.Unmarshal(text, &x); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, line, err)
		}
		want, ok := references[x.ID]
		if !ok || !slices.Equal(want, x.Answers) {
			return nil, fmt.Errorf("%s:%d: the answer of id %q is to no question of this data, or its references are others; evaluate the same rows, or begin anew without --resume", path, line, x.ID)
		}
		had[x.ID] = x.Prediction
	}
	return had, nil
}

// same compares what the answers there depend on with what these will.
func (p *predictionFile) same(path string, how map[string]string) error {
	data, err := os.ReadFile(p.how)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: there is no %s beside it, so nothing says how its answers were made, or they are complete: begin anew without --resume", path, p.how)
	}
	if err != nil {
		return err
	}
	var before map[string]string
	if err := json.Unmarshal(data, &before); err != nil {
		return fmt.Errorf("%s: %w", p.how, err)
	}
	for name, v := range how {
		if before[name] != v {
			return fmt.Errorf("%s: its answers were made with %s %q, this evaluation has %q; begin anew without --resume", path, name, before[name], v)
		}
	}
	return nil
}

func (p *predictionFile) write(q train.Question, text, reason string, scores any) error {
	if p.file == nil {
		return nil
	}
	line, err := json.Marshal(struct {
		ID         string   `json:"id"`
		Prediction string   `json:"prediction"`
		Answers    []string `json:"answers"`
		Reason     string   `json:"finish_reason"`
		Scores     any      `json:"scores"`
	}{q.ID, text, q.Answers, reason, scores})
	if err != nil {
		return err
	}
	if _, err := p.w.Write(append(line, '\n')); err != nil {
		return err
	}
	p.left--
	return p.w.Flush()
}

// close closes the file; when every question has its answer, nothing is left to
// be gone on with.
func (p *predictionFile) close() error {
	if p.file == nil {
		return nil
	}
	err := p.file.Close()
	if p.left == 0 {
		err = errors.Join(err, os.Remove(p.how))
	}
	return err
}
