package token

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// isTiktoken tells whether data begins with a line "base64 number".
func isTiktoken(data []byte) bool {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	raw, rank, ok := bytes.Cut(bytes.TrimRight(line, "\r"), []byte(" "))
	if !ok || len(line) > 4096 {
		return false
	}
	_, err1 := base64.StdEncoding.DecodeString(string(raw))
	_, err2 := strconv.ParseUint(string(rank), 10, 31)
	return err1 == nil && err2 == nil
}

// parseTiktoken reads tiktoken's file of tokens: one "base64 rank" a line. The
// rank is the id, and the merge of lowest rank comes first. The file has no
// special tokens; Llama 3's are added by name unless tokenizer_config.json
// lists them.
func parseTiktoken(file string, data []byte, side *side) (*document, error) {
	d := &document{file: file, form: formTiktoken, vocab: map[string]int32{}, bos: -1, eos: -1, pad: -1}
	ids := map[string]int32{}
	var faults problems
	limit := bytes.Count(data, []byte("\n")) + 1<<16
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		b64, rank, _ := strings.Cut(line, " ")
		raw, err1 := base64.StdEncoding.DecodeString(b64)
		id, err2 := strconv.ParseUint(rank, 10, 31)
		switch first, again := ids[string(raw)]; {
		case err1 != nil || err2 != nil || len(raw) == 0 || len(raw) > maxPiece:
			faults.add("line %d is %.60q, want a base64 token and its rank", n, line)
		case id >= uint64(limit):
			faults.add("line %d: rank %d is out of range", n, id)
		case again:
			faults.add("line %d: token %q has ranks %d and %d", n, raw, first, id)
		default:
			ids[string(raw)] = int32(id)
		}
	}
	if err := faults.err(file); err != nil {
		return nil, err
	}
	top := int32(-1)
	for _, id := range ids {
		top = max(top, id)
	}
	raws := make([]string, top+1)
	for raw, id := range ids {
		if raws[id] != "" {
			faults.add("tokens %q and %q both have rank %d", raws[id], raw, id)
		}
		raws[id] = raw
		d.vocab[spellBytes(raw)] = id
	}
	var order []int32
	for id, raw := range raws {
		if raw != "" {
			order = append(order, int32(id))
		}
	}
	d.merges = allMerges(raws, ids, order, func(_, _ int32) bool { return false })
	d.Model.IgnoreMerges = true
	expr := patternLlama3
	if side.isQwen() {
		expr = patternQwen2
		d.Normalizer = &node{Type: "NFC"}
	} else if len(side.config.AddedTokens) == 0 && len(ids) == 128000 {
		d.Added = llama3Special(len(ids))
	}
	d.setByteLevel(expr, false)
	return d, faults.err(file)
}

// setByteLevel gives the document a split pattern and bytes as symbols.
func (d *document) setByteLevel(expr string, prefixSpace bool) {
	off := false
	split := []*node{
		{Type: "Split", Pattern: pattern{Regex: &expr}, Behavior: "Isolated"},
		{Type: "ByteLevel", AddPrefixSpace: &off, UseRegex: &off},
	}
	if prefixSpace {
		on := true
		split = []*node{{Type: "ByteLevel", AddPrefixSpace: &on}}
	}
	d.PreTokenizer = &node{Type: "Sequence", PreTokenizers: split}
	d.Decoder = &node{Type: "ByteLevel"}
}

// llama3Special lists Llama 3's 256 special tokens, the first with id first
// (meta-llama/llama-models, models/llama3/tokenizer.py).
func llama3Special(first int) []addedToken {
	names := []string{
		"begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1",
		"finetune_right_pad_id", "step_id", "start_header_id", "end_header_id",
		"eom_id", "eot_id", "python_tag", "image",
	}
	for i := 2; len(names) < 256; i++ {
		names = append(names, fmt.Sprintf("reserved_special_token_%d", i))
	}
	added := make([]addedToken, len(names))
	for i, n := range names {
		added[i] = addedToken{ID: int32(first + i), Content: "<|" + n + "|>", Special: true}
	}
	return added
}
