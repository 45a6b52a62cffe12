package token

import (
	"encoding/json"
	"fmt"
	"strings"
)

// parseVocabMerges reads vocab.json and merges.txt (GPT-2, Qwen2). These files
// do not say how text is split: Qwen's pattern and normal form are taken if
// the configuration names a Qwen model, or, without any configuration, if no
// piece has two digits in a row, which Qwen's pattern never makes; else GPT-2's.
func parseVocabMerges(vocabFile, mergesFile string, vocab, merges []byte, side *side) (*document, error) {
	d := &document{file: vocabFile, form: formVocabMerges, bos: -1, eos: -1, pad: -1}
	if err := json.Unmarshal(vocab, &d.vocab); err != nil {
		return nil, fmt.Errorf("%s: %w", vocabFile, err)
	}
	var lines []string
	for line := range strings.Lines(string(merges)) {
		line = strings.TrimRight(line, "\r\n")
		if line != "" && !(len(lines) == 0 && strings.HasPrefix(line, "#version")) {
			lines = append(lines, line)
		}
	}
	pairs, err := splitMerges(lines)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", mergesFile, err)
	}
	if err := d.setMerges(mergesFile, pairs); err != nil {
		return nil, err
	}
	if side.isQwen() || side.family() == "" && len(d.vocab) > 1000 && !hasDigitPair(d.vocab) {
		d.Normalizer = &node{Type: "NFC"}
		d.setByteLevel(patternQwen2, false)
		return d, nil
	}
	d.setByteLevel(patternGPT2, side.config.AddPrefixSpace != nil && *side.config.AddPrefixSpace)
	return d, nil
}

// hasDigitPair tells whether a piece has two ASCII digits in a row.
func hasDigitPair(vocab map[string]int32) bool {
	digit := func(b byte) bool { return b >= '0' && b <= '9' }
	for p := range vocab {
		for i := 1; i < len(p); i++ {
			if digit(p[i-1]) && digit(p[i]) {
				return true
			}
		}
	}
	return false
}
