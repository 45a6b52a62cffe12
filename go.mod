module meft

go 1.26
