package task

import "fmt"

// Report adds up what encoding a data set cost. Its JSON is part of a run's
// report.
type Report struct {
	Rows           int    `json:"rows"`            // rows encoded
	Tokens         int    `json:"tokens"`          // ids of the rows kept
	Supervised     int    `json:"supervised"`      // targets among them
	CutRows        int    `json:"cut_rows"`        // rows longer than the limit
	CutTokens      int    `json:"cut_tokens"`      // ids cut off
	LostSupervised int    `json:"lost_supervised"` // targets cut off
	Dropped        int    `json:"dropped"`         // rows left without any target
	Blank          int    `json:"blank"`           // of these: rows that have no text at all
	NoEOS          int    `json:"no_eos"`          // kept rows whose answer's end is not trained
	Empty          int    `json:"empty"`           // kept rows with an empty answer
	DoubleBOS      int    `json:"double_bos"`      // rows whose data spells a BOS of its own
	Apart          int    `json:"apart"`           // rows with prompt and answer encoded apart
	SkippedTurns   int    `json:"skipped_turns"`   // turns not trained: see Encoded
	Unasked        int    `json:"unasked"`         // rows that ask nothing of the task, not among Rows
	UnaskedWhy     string `json:"unasked_why"`     // the first one's reason
	Longest        int    `json:"longest"`         // ids of the longest row, before cutting
	LongestRow     string `json:"longest_row"`     // where it is
}

// Add counts one example. It tells whether the row is worth keeping: a row
// without a target is counted as dropped and must not reach a batch, where a
// mean over no targets is not a number.
func (r *Report) Add(e Example, x Encoded) bool {
	r.Rows++
	if n := len(x.IDs) + x.Cut; n > r.Longest {
		r.Longest, r.LongestRow = n, e.Where()
	}
	if x.Cut > 0 {
		r.CutRows++
		r.CutTokens += x.Cut
		r.LostSupervised += x.LostSupervised
	}
	r.SkippedTurns += x.SkippedTurns
	count := func(n *int, is bool) {
		if is {
			*n++
		}
	}
	count(&r.DoubleBOS, x.DoubleBOS > 0)
	count(&r.Apart, x.Apart)
	count(&r.Blank, x.Blank)
	if x.Supervised == 0 {
		r.Dropped++
		return false
	}
	r.Tokens += len(x.IDs)
	r.Supervised += x.Supervised
	count(&r.NoEOS, !x.EOS)
	count(&r.Empty, x.Empty)
	return true
}

// LeaveOut counts a row that asks nothing of the task.
func (r *Report) LeaveOut(e Example) {
	if r.Unasked++; r.Unasked == 1 {
		r.UnaskedWhy = e.Where() + ": " + e.Unasked
	}
}

// Lost returns the share of supervised ids that cutting removed, 0 to 1.
func (r Report) Lost() float64 {
	if r.LostSupervised == 0 {
		return 0
	}
	return float64(r.LostSupervised) / float64(r.LostSupervised+r.Supervised)
}

// Lines returns the report for people: the totals, then a line for everything
// that was cut, dropped or looks wrong.
func (r Report) Lines() []string {
	share := 0.0
	if r.Tokens > 0 {
		share = 100 * float64(r.Supervised) / float64(r.Tokens)
	}
	out := []string{fmt.Sprintf("%d rows, %d tokens, %d of them supervised (%.1f %%)", r.Rows-r.Dropped, r.Tokens, r.Supervised, share)}
	if r.Longest > 0 {
		out = append(out, fmt.Sprintf("longest row: %d tokens (%s)", r.Longest, r.LongestRow))
	}
	add := func(n int, format string, args ...any) {
		if n > 0 {
			out = append(out, fmt.Sprintf("%d "+format, append([]any{n}, args...)...))
		}
	}
	add(r.CutRows, "rows are cut: %d tokens, %d of them supervised (%.2f %% of all supervised)", r.CutTokens, r.LostSupervised, 100*r.Lost())
	add(r.Dropped, "rows are dropped: nothing supervised is left of them")
	add(r.Blank, "of these rows have no text at all")
	add(r.NoEOS, "rows do not train the end of the answer")
	add(r.Empty, "rows have an empty answer")
	add(r.DoubleBOS, "rows spell the beginning-of-text token themselves; it is put there once")
	add(r.Apart, "rows need prompt and answer encoded apart (does the prompt end with a blank?)")
	add(r.SkippedTurns, "turns are not trained: the chat template rewrites them once they are history")
	add(r.Unasked, "rows ask nothing of the task and are left out (%s)", r.UnaskedWhy)
	return out
}
