package token

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
)

// Load reads a tokenizer from a directory, or from one file with the
// configuration files beside it. In a directory it takes the first it finds of
// tokenizer.json, tokenizer.model (SentencePiece, or tiktoken ranks as Llama 3's;
// the content tells) and vocab.json with merges.txt. Only the first form says how
// text is split; for the others the model family decides, which the
// configuration files tell, or else what the vocabulary looks like.
//
// tokenizer_config.json, special_tokens_map.json, added_tokens.json,
// generation_config.json, config.json and chat_template.jinja are read when
// present, for BOS, EOS, PAD, further added tokens, what is added around a text,
// and the chat template. Where clean_up_tokenization_spaces is not set, Decode
// cleans up as the model family's own tokenizer class does: not for
// SentencePiece-like vocabularies (Llama 2, Mistral) and Qwen, but for Llama 3
// and GPT-2.
//
// Errors name the file and everything in it that is wrong or not supported.
func Load(dir string) (*Tokenizer, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if info.IsDir() {
		return parse(dir, os.DirFS(dir), "")
	}
	parent, file := filepath.Split(dir)
	if parent == "" {
		parent = "."
	}
	return parse(filepath.Clean(parent), os.DirFS(parent), file)
}

// Parse is Load from the root of a file system; name stands for it in errors.
func Parse(name string, files fs.FS) (*Tokenizer, error) { return parse(name, files, "") }

const (
	fileJSON   = "tokenizer.json"
	fileModel  = "tokenizer.model"
	fileVocab  = "vocab.json"
	fileMerges = "merges.txt"
)

// parse reads the tokenizer in file, or in the first known file if file is "".
func parse(name string, files fs.FS, file string) (*Tokenizer, error) {
	src := source{name, files}
	side, err := src.side()
	if err != nil {
		return nil, err
	}
	if file == "" {
		for _, f := range []string{fileJSON, fileModel, fileVocab} {
			if _, err := fs.Stat(files, f); err == nil {
				file = f
				break
			}
		}
	}
	if file == "" {
		hint := ""
		if _, err := fs.Stat(files, "tekken.json"); err == nil {
			hint = " (tekken.json is not supported; use the tokenizer.json of the same model)"
		}
		return nil, fmt.Errorf("%s: no %s, %s, or %s with %s%s", name, fileJSON, fileModel, fileVocab, fileMerges, hint)
	}
	doc, err := src.document(file, side)
	if err != nil {
		return nil, err
	}
	return assemble(doc, side)
}

// assemble makes the tokenizer of a document and its configuration.
func assemble(doc *document, side *side) (*Tokenizer, error) {
	if err := doc.addFrom(side); err != nil {
		return nil, err
	}
	t, err := doc.build()
	if err != nil {
		return nil, err
	}
	if err := side.apply(t, doc); err != nil {
		return nil, err
	}
	t.hash = sync.OnceValue(t.sum)
	return t, nil
}

// source is where the files of one tokenizer are; name stands for it in errors.
type source struct {
	name  string
	files fs.FS
}

const maxFile = 256 << 20 // bytes; the largest published tokenizer.json has 35 MB

// read returns a file, nil without error when it does not exist.
func (s source) read(file string) ([]byte, error) {
	info, err := fs.Stat(s.files, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("%d bytes, more than %d: not a tokenizer file", info.Size(), maxFile)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path(file), err)
	}
	b, err := fs.ReadFile(s.files, file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path(file), err)
	}
	return b, nil
}

func (s source) path(file string) string { return path.Join(filepath.ToSlash(s.name), file) }

// document reads one of the file forms. What a form does not say (split pattern,
// decoder) is filled in from the model family that side tells.
func (s source) document(file string, side *side) (*document, error) {
	data, err := s.read(file)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, fmt.Errorf("%s: %w", s.path(file), fs.ErrNotExist)
	}
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	switch {
	case file == fileVocab || file == fileMerges:
		return s.vocabMerges(side)
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")):
		return parseJSON(s.path(file), data)
	case isTiktoken(data):
		return parseTiktoken(s.path(file), data, side)
	}
	return parseSentencePiece(s.path(file), data, side)
}

// vocabMerges reads vocab.json and merges.txt.
func (s source) vocabMerges(side *side) (*document, error) {
	vocab, err := s.read(fileVocab)
	if err != nil {
		return nil, err
	}
	merges, err := s.read(fileMerges)
	if err != nil {
		return nil, err
	}
	if vocab == nil || merges == nil {
		return nil, fmt.Errorf("%s: %w: %s and %s go together", s.name, fs.ErrNotExist, fileVocab, fileMerges)
	}
	return parseVocabMerges(s.path(fileVocab), s.path(fileMerges), vocab, merges, side)
}
