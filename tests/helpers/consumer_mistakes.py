"""What a type checker must find fault with in a program that uses npmnv3: every line but the first few; it is not run."""

import npmnv3

model = npmnv3.load("ppocr/text_direction")
npmnv3.load(3)
npmnv3.load("ppocr/text_direction", engin="numpy")
npmnv3.nothing()
model.predict("cat.png", top="5")
npmnv3.preprocess("cat.png", 7)
npmnv3.Preprocess("mine", side=64)
print(npmnv3.verify(model, "port.npz").verdikt)
print(npmnv3.convert("mine.pth").path.nothing)
npmnv3.freeze(model, None)
